// The resources of the Gateway API, standard channel; nothing of it is built.
module tidegate.test/gateway-api

go 1.26.0

require sigs.k8s.io/gateway-api v1.4.1
