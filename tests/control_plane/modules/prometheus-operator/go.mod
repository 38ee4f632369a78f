// The resources that a chart's monitoring is written in; nothing of it is built.
module tidegate.test/prometheus-operator

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
