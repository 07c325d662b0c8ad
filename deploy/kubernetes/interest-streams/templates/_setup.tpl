{{- define "interests.hook" -}}
helm.sh/hook: {{ .when }}
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: {{ .delete }}
{{- end -}}

{{/* A Job of one command. Of (dict "root" $ "what" "topics" "when" "pre-install" "weight" "0"). */}}
{{- define "interests.setupJob" -}}
{{- $setup := .root.Values.setup -}}
{{- $labels := dict "root" .root "component" "setup" -}}
{{- $of := dict "root" .root "workload" "setup" "config" (printf "%s-setup" (include "interests.fullname" .root)) -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "interests.fullname" .root }}-{{ .what }}
  labels:
    {{- include "interests.labels" $labels | nindent 4 }}
  annotations:
    {{- include "interests.hook" (dict "when" .when "weight" .weight "delete" "before-hook-creation,hook-succeeded") | nindent 4 }}
spec:
  backoffLimit: {{ $setup.backoffLimit }}
  activeDeadlineSeconds: {{ $setup.activeDeadlineSeconds }}
  template:
    metadata:
      labels:
        {{- include "interests.labels" $labels | nindent 8 }}
    spec:
      {{- /* A hook runs before the release's own ServiceAccount is there. */}}
      {{- include "interests.pod" (dict "root" .root "values" dict) | replace (printf "serviceAccountName: %s" (include "interests.serviceAccount" .root)) (printf "serviceAccountName: %s-setup" (include "interests.fullname" .root)) | nindent 6 }}
      restartPolicy: Never
      containers:
        - name: {{ .what }}
          image: {{ include "interests.image" (dict "root" .root "image" .root.Values.image) | quote }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          command: [interests, {{ .what }}, create]
          env:
            {{- include "interests.env" $of | nindent 12 }}
          resources:
            {{- toYaml $setup.resources | nindent 12 }}
          securityContext:
            {{- include "interests.containerSecurity" . | nindent 12 }}
          volumeMounts:
            {{- include "interests.mounts" $of | nindent 12 }}
      volumes:
        {{- include "interests.volumes" $of | nindent 8 }}
{{- end -}}
