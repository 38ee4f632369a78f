// The resources that Argo CD's and Flux' own objects are written in; nothing of it is built.
module tidegate.test/gitops

go 1.26.0

require (
	github.com/argoproj/argo-cd/v3 v3.2.1
	github.com/fluxcd/kustomize-controller v1.7.3
	github.com/fluxcd/source-controller v1.7.3
)
