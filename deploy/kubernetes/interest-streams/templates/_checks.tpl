{{/* What must be said, and what cannot be together: all of it at once, each with what to do. */}}
{{- define "interests.check" -}}
{{- $v := .Values -}}
{{- $wrong := list -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" (include "interests.fullname" .)) -}}
{{- $wrong = append $wrong (printf "fullnameOverride: %s can be no name of a Service: one that begins with a letter, of small letters, digits and hyphens" (include "interests.fullname" .)) -}}
{{- end -}}
{{- if regexMatch "[\\x{7f}-\\x{9f}\\x{2028}\\x{2029}\\x{feff}]" (include "interests.toml" .) -}}
{{- $wrong = append $wrong "config: a text holds a control character or a line's end that YAML does not keep: leave it out" -}}
{{- end -}}
{{- range $place, $given := dict "config.worker.metrics_host" (dig "worker" "metrics_host" "" $v.config) "config.learning.metrics_host" (dig "learning" "metrics_host" "" $v.config) "config.api.host" (dig "api" "host" "" $v.config) -}}
{{- if or (not $given) (regexMatch "^(127\\.|localhost$|::1$)" $given) -}}
{{- $wrong = append $wrong (printf "%s: probes, callers and Prometheus come from outside the pod: say 0.0.0.0, or :: where there is IPv6 alone" $place) -}}
{{- end -}}
{{- end -}}
{{- range $place, $given := dict "config.worker.metrics_port" (dig "worker" "metrics_port" 0 $v.config) "config.learning.metrics_port" (dig "learning" "metrics_port" 0 $v.config) "config.api.port" (dig "api" "port" 0 $v.config) -}}
{{- if not $given -}}
{{- $wrong = append $wrong (printf "%s: say a port; null takes the chart's own away" $place) -}}
{{- end -}}
{{- end -}}
{{- range $place, $given := dict "config.kafka.brokers" $v.config.kafka.brokers "config.triton.url" $v.config.triton.url -}}
{{- range (splitList "," (default "a:1" $given)) -}}
{{- if not (regexMatch "^\\s*([^\\s:]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}\\s*$" .) -}}
{{- $wrong = append $wrong (printf "%s: got %q, expected host:port (network policies open that port)" $place .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $v.image.repository -}}
{{- $wrong = append $wrong "image.repository: name the repository that the image `interest-streams` was pushed to" -}}
{{- end -}}
{{- if not $v.config.kafka.brokers -}}
{{- $wrong = append $wrong "config.kafka.brokers: name the bootstrap servers, such as kafka-bootstrap.kafka:9093" -}}
{{- end -}}
{{- if not $v.config.kafka.partitions -}}
{{- $wrong = append $wrong "config.kafka.partitions: say how many partitions the topics of events have; they are chosen once, and are the most workers that can work (docs/capacity.md)" -}}
{{- end -}}
{{- if not $v.config.qdrant.host -}}
{{- $wrong = append $wrong "config.qdrant.host: name the host of Qdrant, such as qdrant.qdrant" -}}
{{- end -}}
{{- if not (or $v.config.triton.url $v.triton.enabled) -}}
{{- $wrong = append $wrong "config.triton.url: name Triton's gRPC address, or set triton.enabled" -}}
{{- end -}}
{{- if and $v.triton.enabled (not $v.triton.image.repository) -}}
{{- $wrong = append $wrong "triton.image.repository: name the repository that the image `interest-streams-triton` was pushed to" -}}
{{- end -}}
{{- if and $v.api.enabled (not (or $v.secrets.api.keys.secret $v.secrets.api.jwtSecret.secret $v.secrets.api.jwtPublicKey.secret)) -}}
{{- $wrong = append $wrong "secrets.api: outside of loopback the API needs keys or tokens: name a Secret under keys, jwtSecret or jwtPublicKey, or set api.enabled=false" -}}
{{- end -}}
{{- if and $v.config.kafka.partitions (not $v.worker.autoscaling.enabled) -}}
{{- if not $v.worker.replicas -}}
{{- $wrong = append $wrong "worker.replicas: say how many workers to run, or set worker.autoscaling.enabled=true (KEDA)" -}}
{{- else if gt (int $v.worker.replicas) (int $v.config.kafka.partitions) -}}
{{- $wrong = append $wrong (printf "worker.replicas %d: more than the %d partitions; the rest would have nothing to do" (int $v.worker.replicas) (int $v.config.kafka.partitions)) -}}
{{- end -}}
{{- end -}}
{{- if and $v.config.kafka.partitions $v.worker.autoscaling.enabled -}}
{{- if $v.worker.replicas -}}
{{- $wrong = append $wrong "worker.replicas and worker.autoscaling.enabled: the ScaledObject sets the number of workers, and each upgrade would set it back: leave one out" -}}
{{- end -}}
{{- if gt (include "interests.maxWorkers" . | int) (int $v.config.kafka.partitions) -}}
{{- $wrong = append $wrong (printf "worker.autoscaling.maxReplicas %s: more than the %d partitions; the rest would have nothing to do" (include "interests.maxWorkers" .) (int $v.config.kafka.partitions)) -}}
{{- end -}}
{{- if gt (int $v.worker.autoscaling.minReplicas) (include "interests.maxWorkers" . | int) -}}
{{- $wrong = append $wrong (printf "worker.autoscaling.minReplicas %d: more than the most, %s" (int $v.worker.autoscaling.minReplicas) (include "interests.maxWorkers" .)) -}}
{{- end -}}
{{- if and (eq $v.worker.autoscaling.trigger "prometheus") (not $v.worker.autoscaling.prometheus.serverAddress) -}}
{{- $wrong = append $wrong "worker.autoscaling.prometheus.serverAddress: name Prometheus, such as http://prometheus-operated.monitoring:9090" -}}
{{- end -}}
{{- end -}}
{{- if and $v.api.enabled $v.api.autoscaling.enabled $v.api.replicas -}}
{{- $wrong = append $wrong "api.replicas and api.autoscaling.enabled: the HorizontalPodAutoscaler sets the number: leave one out" -}}
{{- end -}}
{{- if and $v.api.enabled $v.api.autoscaling.enabled (gt (int $v.api.autoscaling.minReplicas) (int $v.api.autoscaling.maxReplicas)) -}}
{{- $wrong = append $wrong "api.autoscaling.minReplicas: more than maxReplicas" -}}
{{- end -}}
{{- if and $v.api.enabled (not $v.api.autoscaling.enabled) (not $v.api.replicas) -}}
{{- $wrong = append $wrong "api.replicas: say how many processes to run, or set api.autoscaling.enabled=true" -}}
{{- end -}}
{{- if and $v.api.enabled $v.api.ingress.enabled (not $v.api.ingress.hosts) -}}
{{- $wrong = append $wrong "api.ingress.hosts: name at least one host" -}}
{{- end -}}
{{- if and $v.learner.terminationGracePeriodSeconds (lt (int $v.learner.terminationGracePeriodSeconds) 20) -}}
{{- $wrong = append $wrong "learner.terminationGracePeriodSeconds: at least 20: it stops within 10 s, and its producer has 10 more" -}}
{{- end -}}
{{- if and $v.api.terminationGracePeriodSeconds (lt (int $v.api.terminationGracePeriodSeconds) 15) -}}
{{- $wrong = append $wrong "api.terminationGracePeriodSeconds: at least 15: 5 s until routers know, 10 s for what is under way" -}}
{{- end -}}
{{- if and $v.worker.terminationGracePeriodSeconds (lt (int $v.worker.terminationGracePeriodSeconds) 60) -}}
{{- $wrong = append $wrong "worker.terminationGracePeriodSeconds: at least 60; leave it out to have it worked out from the settings" -}}
{{- end -}}
{{- if and $v.secrets.privacy.userIdKey.secret (eq (dig "privacy" "dead_letter_bodies" "keep" $v.config) "keep") -}}
{{- $wrong = append $wrong "config.privacy.dead_letter_bodies: with pseudonyms (secrets.privacy.userIdKey) say drop or seal: a record that is kept holds the user's own id" -}}
{{- end -}}
{{- if and (eq (dig "privacy" "dead_letter_bodies" "keep" $v.config) "seal") (not $v.secrets.privacy.deadLetterKey.secret) -}}
{{- $wrong = append $wrong "secrets.privacy.deadLetterKey: name the Secret of the public key that dead letters are sealed to" -}}
{{- end -}}
{{- $protocol := dig "kafka" "security_protocol" "PLAINTEXT" $v.config -}}
{{- $users := include "interests.workloads" . | fromJsonArray -}}
{{- if and $v.worker.autoscaling.enabled (eq $v.worker.autoscaling.trigger "kafka") -}}{{- $users = append $users "keda" -}}{{- end -}}
{{- range $users -}}
{{- $user := include "interests.kafkaUser" (dict "root" $ "workload" .) | fromJson -}}
{{- if and (hasPrefix "SASL" $protocol) (not (and $user.username $user.password.secret)) -}}
{{- $wrong = append $wrong (printf "secrets.kafka.%s: %s needs a username and the Secret of its password; `default` serves those that name none" . $protocol) -}}
{{- end -}}
{{- if and (not (hasPrefix "SASL" $protocol)) $user.password.secret -}}
{{- $wrong = append $wrong (printf "config.kafka.security_protocol: %s asks for no password, but secrets.kafka names one for %s: say SASL_SSL" $protocol .) -}}
{{- end -}}
{{- end -}}
{{- if and $v.secrets.qdrant.ca.secret (not (dig "qdrant" "https" false $v.config)) -}}
{{- $wrong = append $wrong "config.qdrant.https: secrets.qdrant.ca names an authority, but nothing would be encrypted: say true" -}}
{{- end -}}
{{- if and $v.triton.enabled (ne (dig "triton" "tls" false $v.config) (not (empty $v.secrets.triton.server.secret))) -}}
{{- $wrong = append $wrong "config.triton.tls and secrets.triton.server: this chart's Triton encrypts where both are there: say both or neither" -}}
{{- end -}}
{{- if and $v.triton.enabled $v.secrets.triton.server.secret (not $v.secrets.triton.ca.secret) -}}
{{- $wrong = append $wrong "secrets.triton.ca: name the Secret of the authority that signed secrets.triton.server" -}}
{{- end -}}
{{- if and $v.secrets.triton.ca.secret (not (dig "triton" "tls" false $v.config)) -}}
{{- $wrong = append $wrong "config.triton.tls: secrets.triton.ca names an authority, but nothing would be encrypted: say true" -}}
{{- end -}}
{{- if and $v.networkPolicy.enabled (dig "api" "metrics_urls" dict $v.config) -}}
{{- $wrong = append $wrong "config.api.metrics_urls: several pods have no one address, and network policies shut their ports to the API: name config.api.prometheus_url" -}}
{{- end -}}
{{- if and $v.monitoring.serviceMonitor $v.api.enabled (not $v.secrets.api.metricsKey.secret) -}}
{{- $wrong = append $wrong "secrets.api.metricsKey: the API's /metrics asks for a key with the scope read; name its Secret" -}}
{{- end -}}
{{- if $wrong -}}
{{- fail (printf "\n\nThese values do not fit:\n  - %s\n" (join "\n  - " $wrong)) -}}
{{- end -}}
{{- end -}}
