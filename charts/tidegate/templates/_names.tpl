{{- /* All names are fixed: one release in a cluster, or one for each group of namespaces (checks.yaml). */ -}}

{{- define "tidegate.selector" -}}
app.kubernetes.io/name: tidegate
app.kubernetes.io/component: operator
{{- end }}

{{- define "tidegate.labels" -}}
{{ include "tidegate.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* REGISTRY/NAME:TAG or REGISTRY/NAME@DIGEST of (dict "image" … "registry" … "tag" …). */ -}}
{{- define "tidegate.image" -}}
{{- $registry := .image.registry | default .registry -}}
{{- with $registry }}{{ trimSuffix "/" . }}/{{ end }}{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .tag }}{{ end }}
{{- end }}

{{- define "tidegate.subjects" -}}
- kind: ServiceAccount
  name: {{ .Values.serviceAccount.name }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- /* NAMESPACE/NAME of the release that an object in the cluster belongs to; nothing if to none. */ -}}
{{- define "tidegate.owner" -}}
{{- $notes := .metadata.annotations | default dict -}}
{{- with get $notes "meta.helm.sh/release-name" }}{{ get $notes "meta.helm.sh/release-namespace" }}/{{ . }}{{ end }}
{{- end }}
