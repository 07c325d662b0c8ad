{{/* Peers and ports of one rule; no peers: any. Of (dict "peers" LIST "side" "to" "ports" LIST). */}}
{{- define "interests.rule" -}}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . | int }}}
    {{- end }}
  {{- with .peers }}
  {{ $.side }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Ports of comma-separated addresses. As JSON. */}}
{{- define "interests.ports" -}}
{{- $ports := list -}}
{{- range splitList "," . -}}{{- $ports = append $ports (include "interests.port" (trim .)) -}}{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}

{{/* Of (dict "root" $ "policy" .Values.networkPolicy "config" SETTINGS "workload" "worker"). */}}
{{- define "interests.networkPolicy" -}}
{{- $values := .root.Values -}}
{{- $config := .config -}}
{{- $metrics := dict "worker" (dig "metrics_port" 9108 $config.worker) "learner" (dig "metrics_port" 9109 $config.learning) "triton" 8002 -}}
{{- $address := printf "%s-triton:8001" (include "interests.fullname" .root) -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "interests.fullname" .root }}-{{ .workload }}
  labels:
    {{- include "interests.labels" (dict "root" .root "component" "network") | nindent 4 }}
  {{- if eq .workload "setup" }}
  annotations:
    {{- include "interests.hook" (dict "when" "pre-install,pre-upgrade,post-install" "weight" "-5" "delete" "before-hook-creation,hook-succeeded") | nindent 4 }}
  {{- end }}
spec:
  podSelector:
    matchLabels:
      {{- include "interests.selector" (dict "root" .root "component" .workload) | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- if ne .workload "setup" }}
  ingress:
    {{- if eq .workload "api" }}
    {{- include "interests.rule" (dict "side" "from" "peers" .policy.api.from "ports" (list $config.api.port)) | nindent 4 }}
    {{- if .policy.api.from }}
    {{- include "interests.rule" (dict "side" "from" "peers" .policy.prometheus.from "ports" (list $config.api.port)) | nindent 4 }}
    {{- end }}
    {{- else }}
    {{- include "interests.rule" (dict "side" "from" "peers" .policy.prometheus.from "ports" (list (get $metrics .workload))) | nindent 4 }}
    {{- end }}
    {{- if eq .workload "triton" }}
    {{- $callers := list -}}
    {{- range list "worker" "api" "setup" -}}
    {{- $callers = append $callers (dict "podSelector" (dict "matchLabels" (include "interests.selector" (dict "root" $.root "component" .) | fromYaml))) -}}
    {{- end -}}
    {{- include "interests.rule" (dict "side" "from" "peers" $callers "ports" (list 8001)) | nindent 4 }}
    {{- end }}
  {{- end }}
  {{- if ne .workload "triton" }}
  egress:
    - ports:
        - {protocol: UDP, port: 53}
        - {protocol: TCP, port: 53}
      {{- with .policy.dns.to }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- include "interests.rule" (dict "side" "to" "peers" .policy.kafka.to "ports" (include "interests.ports" $config.kafka.brokers | fromJsonArray)) | nindent 4 }}
    {{- $qdrant := list (dig "grpc_port" 6334 $config.qdrant) (dig "http_port" 6333 $config.qdrant) }}
    {{- include "interests.rule" (dict "side" "to" "peers" .policy.qdrant.to "ports" $qdrant) | nindent 4 }}
    {{- if ne .workload "learner" }}
    {{- $triton := .policy.triton.to -}}
    {{- if eq $config.triton.url $address -}}
    {{- $triton = list (dict "podSelector" (dict "matchLabels" (include "interests.selector" (dict "root" .root "component" "triton") | fromYaml))) -}}
    {{- end -}}
    {{- include "interests.rule" (dict "side" "to" "peers" $triton "ports" (include "interests.ports" $config.triton.url | fromJsonArray)) | nindent 4 }}
    {{- end }}
    {{- with dig "tracing" "endpoint" "" $config }}
    {{- include "interests.rule" (dict "side" "to" "peers" $.policy.otlp.to "ports" (list (include "interests.port" .))) | nindent 4 }}
    {{- end }}
    {{- if eq .workload "api" }}
    {{- with dig "api" "prometheus_url" "" $config }}
    {{- include "interests.rule" (dict "side" "to" "peers" $.policy.prometheus.from "ports" (list (include "interests.port" .))) | nindent 4 }}
    {{- end }}
    {{- end }}
  {{- end }}
{{- end -}}
