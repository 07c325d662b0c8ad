{{- define "interests.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "interests.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Of (dict "root" $ "workload" "worker"). */}}
{{- define "interests.env" -}}
{{- $user := include "interests.kafkaUser" . | fromJson -}}
- {name: INTERESTS_CONFIG, value: /etc/interests/interests.toml}
# The image sets it too, and a variable counts more than the file.
- {name: INTERESTS_LOG__FORM, value: {{ dig "log" "form" "json" .root.Values.config }}}
{{- if $user.username }}
- {name: INTERESTS_KAFKA__SASL_USERNAME, value: {{ $user.username | quote }}}
{{- end }}
{{- range (include "interests.secretFiles" . | fromJson).files }}
- {name: INTERESTS_{{ .variable }}, value: /etc/interests/secrets/{{ .path }}}
{{- end }}
{{- end -}}

{{/* Of (dict "root" $ "workload" "worker" "config" NAME_OF_CONFIGMAP "extra" LIST). */}}
{{- define "interests.volumes" -}}
- name: config
  configMap: {name: {{ .config }}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- with (include "interests.secretFiles" . | fromJson).files }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range . }}
      - secret: {name: {{ .secret | quote }}, items: [{key: {{ .key | quote }}, path: {{ .path }}}]}
      {{- end }}
{{- end }}
{{- with .extra }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "interests.mounts" -}}
- {name: config, mountPath: /etc/interests/interests.toml, subPath: interests.toml, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if (include "interests.secretFiles" . | fromJson).files }}
- {name: secrets, mountPath: /etc/interests/secrets, readOnly: true}
{{- end }}
{{- with .extra }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What all pods have in common. Of (dict "root" $ "values" .Values.worker "component" "worker"). */}}
{{- define "interests.pod" -}}
serviceAccountName: {{ include "interests.serviceAccount" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "interests.podSecurity" . | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - {name: {{ . | quote }}}
  {{- end }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "interests.spread" -}}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "interests.selector" $ | nindent 8 }}
  {{- end }}
{{- end -}}

{{/* A pod that is recreated when the settings change. Of (dict "root" $ "values" .Values.worker). */}}
{{- define "interests.podAnnotations" -}}
interest-streams/config: {{ include "interests.toml" .root | sha256sum }}
{{- with .values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}
