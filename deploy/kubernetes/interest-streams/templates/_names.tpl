{{- define "interests.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of (dict "root" $ "component" "worker"). */}}
{{- define "interests.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "interests.labels" -}}
{{ include "interests.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Of (dict "image" .Values.image "root" $). */}}
{{- define "interests.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end -}}
{{- end -}}

{{- define "interests.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "interests.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "interests.workloads" -}}
{{- $names := list "worker" -}}
{{- if .Values.learner.enabled -}}{{- $names = append $names "learner" -}}{{- end -}}
{{- if .Values.api.enabled -}}{{- $names = append $names "api" -}}{{- end -}}
{{- if .Values.setup.enabled -}}{{- $names = append $names "setup" -}}{{- end -}}
{{- $names | toJson -}}
{{- end -}}

{{/* The port of an address such as HOST:PORT or SCHEME://HOST:PORT/PATH. */}}
{{- define "interests.port" -}}
{{- $given := regexFind ":[0-9]+(/.*)?$" . -}}
{{- if $given -}}
{{- regexFind "[0-9]+" $given -}}
{{- else -}}
{{- ternary "443" "80" (hasPrefix "https://" .) -}}
{{- end -}}
{{- end -}}

{{- define "interests.maxWorkers" -}}
{{- default .Values.config.kafka.partitions .Values.worker.autoscaling.maxReplicas | int -}}
{{- end -}}

{{/*
What a worker's stop takes at most: 20 s for the batch at hand, 30 s to leave the group, four calls to Qdrant (marks of
crashes and the control point, each read and written), 10 s for the producer, 10 s for traces, and 5 s to spare.
*/}}
{{- define "interests.workerGrace" -}}
{{- $deadline := dig "qdrant" "deadline_s" 10 .Values.config | float64 -}}
{{- default (addf 20 30 (mulf 4 $deadline) 10 10 5 | ceil | int) .Values.worker.terminationGracePeriodSeconds -}}
{{- end -}}
