{{/* The settings: those of the values, and the address of this chart's Triton. As JSON. */}}
{{- define "interests.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if and .Values.triton.enabled (not $config.triton.url) -}}
{{- $_ := set $config.triton "url" (printf "%s-triton:8001" (include "interests.fullname" .)) -}}
{{- end -}}
{{- $config | toJson -}}
{{- end -}}

{{/* interests.toml: JSON's texts, numbers, truth values and lists are TOML's too. */}}
{{- define "interests.toml" -}}
{{- range $section, $settings := include "interests.config" . | fromJson }}
[{{ $section }}]
{{- range $name, $value := $settings }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ $name }} = {{ $value | toJson }}
{{- end }}
{{- end }}
{{- range $name, $value := $settings }}
{{- if kindIs "map" $value }}
[{{ $section }}.{{ $name }}]
{{- range $key, $inner := $value }}
{{ $key | toJson }} = {{ $inner | toJson }}
{{- end }}
{{- end }}
{{- end }}
{{ end -}}
{{- end -}}

{{/* The Kafka user of a workload: its own, else the default one. Of (dict "root" $ "workload" "api"). As JSON. */}}
{{- define "interests.kafkaUser" -}}
{{- $users := .root.Values.secrets.kafka -}}
{{- $own := get $users .workload -}}
{{- if or $own.username $own.password.secret $own.certificate.secret -}}
{{- $own | toJson -}}
{{- else -}}
{{- $users.default | toJson -}}
{{- end -}}
{{- end -}}

{{/*
The files that a workload's settings name: {files: [{variable, secret, key, path}]}.
Of (dict "root" $ "workload" "worker"). Triton is for those who encode, people's keys for those who meet user ids.
*/}}
{{- define "interests.secretFiles" -}}
{{- $secrets := .root.Values.secrets -}}
{{- $user := include "interests.kafkaUser" . | fromJson -}}
{{- $rows := list
  (dict "variable" "KAFKA__CA_FILE" "secret" $secrets.kafka.ca.secret "key" $secrets.kafka.ca.key "path" "kafka-ca.crt")
  (dict "variable" "KAFKA__SASL_PASSWORD_FILE" "secret" $user.password.secret "key" $user.password.key "path" "kafka-password")
  (dict "variable" "KAFKA__CERT_FILE" "secret" $user.certificate.secret "key" $user.certificate.cert "path" "kafka.crt")
  (dict "variable" "KAFKA__KEY_FILE" "secret" $user.certificate.secret "key" $user.certificate.key "path" "kafka.key")
  (dict "variable" "QDRANT__API_KEY_FILE" "secret" $secrets.qdrant.apiKey.secret "key" $secrets.qdrant.apiKey.key "path" "qdrant-api-key")
  (dict "variable" "QDRANT__CA_FILE" "secret" $secrets.qdrant.ca.secret "key" $secrets.qdrant.ca.key "path" "qdrant-ca.crt")
  (dict "variable" "QDRANT__CERT_FILE" "secret" $secrets.qdrant.certificate.secret "key" $secrets.qdrant.certificate.cert "path" "qdrant.crt")
  (dict "variable" "QDRANT__KEY_FILE" "secret" $secrets.qdrant.certificate.secret "key" $secrets.qdrant.certificate.key "path" "qdrant.key")
-}}
{{- if has .workload (list "worker" "api" "setup") -}}
{{- $rows = concat $rows (list
  (dict "variable" "TRITON__CA_FILE" "secret" $secrets.triton.ca.secret "key" $secrets.triton.ca.key "path" "triton-ca.crt")
  (dict "variable" "TRITON__CERT_FILE" "secret" $secrets.triton.certificate.secret "key" $secrets.triton.certificate.cert "path" "triton.crt")
  (dict "variable" "TRITON__KEY_FILE" "secret" $secrets.triton.certificate.secret "key" $secrets.triton.certificate.key "path" "triton.key"))
-}}
{{- end -}}
{{- if has .workload (list "worker" "learner" "api") -}}
{{- $rows = concat $rows (list
  (dict "variable" "PRIVACY__USER_ID_KEY_FILE" "secret" $secrets.privacy.userIdKey.secret "key" $secrets.privacy.userIdKey.key "path" "user-id-key"))
-}}
{{- end -}}
{{- if has .workload (list "worker" "learner") -}}
{{- $rows = concat $rows (list
  (dict "variable" "PRIVACY__DEAD_LETTER_KEY_FILE" "secret" $secrets.privacy.deadLetterKey.secret "key" $secrets.privacy.deadLetterKey.key "path" "dead-letter-key"))
-}}
{{- end -}}
{{- if eq .workload "api" -}}
{{- $rows = concat $rows (list
  (dict "variable" "API__KEYS_FILE" "secret" $secrets.api.keys.secret "key" $secrets.api.keys.key "path" "api-keys")
  (dict "variable" "API__JWT_SECRET_FILE" "secret" $secrets.api.jwtSecret.secret "key" $secrets.api.jwtSecret.key "path" "jwt-secret")
  (dict "variable" "API__JWT_PUBLIC_KEY_FILE" "secret" $secrets.api.jwtPublicKey.secret "key" $secrets.api.jwtPublicKey.key "path" "jwt-public.pem")
  (dict "variable" "API__PROMETHEUS_TOKEN_FILE" "secret" $secrets.api.prometheusToken.secret "key" $secrets.api.prometheusToken.key "path" "prometheus-token"))
-}}
{{- end -}}
{{- $named := list -}}
{{- range $rows -}}{{- if .secret -}}{{- $named = append $named . -}}{{- end -}}{{- end -}}
{{- dict "files" $named | toJson -}}
{{- end -}}
