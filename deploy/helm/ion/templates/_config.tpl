{{- /* ion.yaml as a mapping: what the chart knows by itself, below what `config` says. */}}
{{- define "ion.config" -}}
{{- toYaml (mergeOverwrite (include "ion.config.own" . | fromYaml) (deepCopy .Values.config)) }}
{{- end }}

{{- define "ion.config.own" -}}
ion: 1
management:
  port: {{ .Values.management.port }}
  metrics_port: {{ .Values.management.metricsPort }}
{{- if include "ion.tls" . }}
  host: 0.0.0.0
  certificate: /etc/ion-tls/tls.crt
  key: /etc/ion-tls/tls.key
  ca: /etc/ion-tls/ca.crt
{{- end }}
front:
  port: {{ .Values.gateway.port }}
kubernetes:
  namespace: {{ include "ion.jobs.namespace" . }}
  instance: {{ include "ion.name" . }}
  handlerImage: {{ include "ion.image" . | quote }}
  serviceAccount: {{ include "ion.jobs.account" . }}
{{- if .Values.hostNetwork }}
  hostNetwork: true
{{- end }}
{{- with .Values.image.pullSecrets }}
  imagePullSecrets: {{ toJson . }}
{{- end }}
{{- if .Values.dispatchers.perModule }}
  dispatchers:
    {{- include "ion.config.dispatchers" . | nindent 4 }}
{{- end }}
{{- with .Values.trial }}
{{- if .nats.enabled }}
bus: {kind: nats, servers: "nats://{{ include "ion.name" $ }}-nats:4222"}
{{- end }}
{{- if .postgresql.enabled }}
ledger: {kind: postgres, host: {{ include "ion.name" $ }}-postgresql, user: ion, database: ion, sslmode: disable}
{{- end }}
{{- if .seaweedfs.enabled }}
blobs: {kind: s3, url: "s3://ion", endpoint: "http://{{ include "ion.name" $ }}-seaweedfs.{{ $.Release.Namespace }}.svc:8333", allow_http: true, region: us-east-1, access_key_id: ion}
{{- end }}
{{- end }}
{{- end }}

{{- /* What the management process makes the dispatchers of modules of. */}}
{{- define "ion.config.dispatchers" -}}
image: {{ include "ion.image" . | quote }}
serviceAccount: {{ include "ion.name" . }}-dispatcher
configMap: {{ include "ion.name" . }}
secret: {{ include "ion.secret" . }}
replicas: {min: {{ .Values.dispatchers.min }}, max: {{ .Values.dispatchers.max }}}
perReplica: {{ .Values.dispatchers.perReplica }}
{{- if .Values.dispatchers.keda }}
figures: http://{{ include "ion.figures" . }}.{{ .Release.Namespace }}.svc:9464
{{- end }}
resources:
  {{- toYaml .Values.dispatchers.resources | nindent 2 }}
podTemplate:
  metadata: {{ pick .Values.dispatchers.pod "annotations" "labels" | toJson }}
  spec:
    terminationGracePeriodSeconds: {{ .Values.dispatchers.terminationGracePeriodSeconds }}
    {{- include "ion.placement" (list . .Values.dispatchers) | nindent 4 }}
    containers:
      - name: dispatcher
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        env:
          - {name: ION_METRICS_PORT, value: "9464"}
          {{- with .Values.extra.env }}{{ toYaml . | nindent 10 }}{{ end }}
        {{- with .Values.extra.volumeMounts }}
        volumeMounts:
          {{- toYaml . | nindent 10 }}
        {{- end }}
    {{- with .Values.extra.volumes }}
    volumes:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end }}

{{- /* Refuses what could never run, before anything is made. */}}
{{- define "ion.check" -}}
{{- $config := include "ion.config" . | fromYaml }}
{{- $ledger := dig "ledger" "kind" "sqlite" $config }}
{{- if not (has $ledger (list "postgres" "mongodb")) }}
{{- fail (printf "config.ledger is %s, which pods cannot share: set it to postgres or mongodb, or trial.postgresql.enabled" $ledger) }}
{{- end }}
{{- $blobs := dig "blobs" "kind" "filesystem" $config }}
{{- if eq $blobs "filesystem" }}
{{- fail "config.blobs is filesystem, which pods cannot share: set it to s3, azure or gcs, or trial.seaweedfs.enabled" }}
{{- end }}
{{- if hasKey $config "modules" }}
{{- fail "config.modules cannot stand here: apply modules to Ion once it runs, with `ion apply`" }}
{{- end }}
{{- include "ion.check.secrets" $config }}
{{- $namespace := dig "kubernetes" "namespace" "" $config }}
{{- if ne $namespace (include "ion.jobs.namespace" .) }}
{{- fail (printf "config.kubernetes.namespace is %v, but the rights and the policies of jobs are made in %s: set jobs.namespace instead" $namespace (include "ion.jobs.namespace" .)) }}
{{- end }}
{{- range $key, $value := dict "port" (list "port" .Values.management.port) "metrics_port" (list "metricsPort" .Values.management.metricsPort) }}
{{- if ne (dig "management" $key 0 $config | int) (index $value 1 | int) }}
{{- fail (printf "config.management.%s is not management.%s, by which pods are probed and reached: set the latter" $key (index $value 0)) }}
{{- end }}
{{- end }}
{{- if and .Values.gateway.enabled (not (or (dig "front" "tokens" list $config) (dig "front" "open" false $config))) }}
{{- fail "config.front.tokens is empty, so the front API would answer to its own pod only: set tokens: [\"${ION_FRONT_TOKEN}\"], or front.open, or gateway.enabled: false" }}
{{- end }}
{{- if and .Values.secret.existing .Values.secret.values }}
{{- fail "secret.existing and secret.values are both set: put the values into that Secret, or let the chart make one" }}
{{- end }}
{{- if and .Values.secret.existing (include "ion.trial" .) }}
{{- fail "secret.existing cannot be used with trial servers, whose passwords the chart makes: leave it empty" }}
{{- end }}
{{- if and .Values.dispatchers.perModule (ne (include "ion.jobs.namespace" .) .Release.Namespace) }}
{{- fail "dispatchers.perModule makes dispatchers where the jobs are, and their ConfigMap and Secret are here: leave jobs.namespace empty, or perModule: false" }}
{{- end }}
{{- if and .Values.dispatchers.keda (not .Values.dispatchers.perModule) }}
{{- fail "dispatchers.keda scales a Deployment for each module: set dispatchers.perModule as well" }}
{{- end }}
{{- if and .Values.tls.certManager.enabled .Values.tls.secret }}
{{- fail "tls.secret and tls.certManager.enabled are both set: choose one" }}
{{- end }}
{{- if and .Values.tls.certManager.enabled (not (dig "management" "roles" list $config)) }}
{{- fail "config.management.roles is empty, so whoever has a certificate of that issuer would be an admin: say who may do what, as {subject: \"CN=anna\", role: admin}" }}
{{- end }}
{{- if and (include "ion.public" .) (not (include "ion.tls" .)) }}
{{- fail (printf "management.service.type is %s, but without certificates the API is on its pod's loopback only: set tls.secret or tls.certManager, or ClusterIP" .Values.management.service.type) }}
{{- end }}
{{- if and (include "ion.public" .) .Values.networkPolicy.enabled (not .Values.networkPolicy.management) (not .Values.hostNetwork) }}
{{- fail (printf "management.service.type is %s, but networkPolicy.management is empty, so pods of this namespace alone would be let in: say who calls, as [{ipBlock: {cidr: 203.0.113.0/24}}]" .Values.management.service.type) }}
{{- end }}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.blobs) (not .Values.trial.seaweedfs.enabled) (not .Values.hostNetwork) }}
{{- fail "networkPolicy.blobs is empty, so jobs without network could not reach their files: say where the blobs are, or networkPolicy.enabled: false" }}
{{- end }}
{{- end }}

{{- /* Refuses secrets in ion.yaml, which is a ConfigMap. */}}
{{- define "ion.check.secrets" -}}
{{- $bases := list "password" "uri" }}
{{- $secrets := dict "ledger" $bases "documents" $bases "bus" (list "connection_string" "password" "token") "azurebatch" (list "key") "front" (list "tokens") }}
{{- $_ := set $secrets "blobs" (list "account_key" "sas" "secret_access_key" "session_token" "token") }}
{{- range $section, $keys := $secrets }}
{{- $said := get $ $section }}
{{- range $key := kindIs "map" $said | ternary $keys list }}
{{- $values := get $said $key }}
{{- range $value := kindIs "slice" $values | ternary $values (list $values) }}
{{- if and $value (not (contains "${" (toString $value))) (or (ne $key "uri") (contains "@" $value)) }}
{{- fail (printf "config.%s.%s is a secret, and would be read by whoever reads ConfigMaps: put it into the Secret, and write ${ION_…} in its place or, where its name is ION_%s_%s, nothing" $section $key (upper $section) (upper $key)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Not empty if any server of the trial is wanted. */}}
{{- define "ion.trial" -}}
{{- with .Values.trial }}{{ if or .nats.enabled .postgresql.enabled .seaweedfs.enabled }}yes{{ end }}{{ end }}
{{- end }}
