// The resource that KEDA scales by; nothing of it is built.
module tidegate.test/keda

go 1.26.0

require github.com/kedacore/keda/v2 v2.21.0
