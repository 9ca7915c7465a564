// Where the definitions of ServiceMonitor and PrometheusRule come from. Nothing of it is built.
module gitward.dev/tests/install/prometheus-operator

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
