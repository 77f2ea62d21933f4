{{- /* Pods change when these do. The Secret's own values are in it only where the chart was given them. */}}
{{- define "ion.checksums" -}}
ion.dev/secret: {{ toJson .Values.secret | sha256sum | trunc 16 | quote }}
{{- end }}

{{- /* Where pods may run, and with whose pull secrets: (list $ .Values.gateway) */}}
{{- define "ion.placement" -}}
{{- $top := index . 0 }}{{- $pod := (index . 1).pod }}
{{- with $top.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- if $top.Values.hostNetwork }}
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $pod $key }}
{{ $key }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "ion.secure.pod" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "ion.secure.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- /* A Deployment's spec but for the container's args, ports and probes:
(dict "top" $ "component" "gateway" "values" .Values.gateway "token" false "container" "…yaml…") */}}
{{- define "ion.deployment" -}}
{{- $top := .top }}{{- $name := printf "%s-%s" (include "ion.name" $top) .component }}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "ion.metadata" (list $top .component $name) | nindent 2 }}
spec:
  replicas: {{ .values.replicas }}
  revisionHistoryLimit: 5
  strategy:
    type: RollingUpdate
    rollingUpdate: {{ if $top.Values.hostNetwork }}{maxSurge: 0, maxUnavailable: 1}{{ else }}{maxSurge: 1, maxUnavailable: 0}{{ end }}
  selector:
    matchLabels:
      {{- include "ion.selector" (list $top .component) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "ion.labels" (list $top .component) | nindent 8 }}
        {{- with .values.pod.labels }}{{ toYaml . | nindent 8 }}{{ end }}
      annotations:
        ion.dev/config: {{ include "ion.config" $top | sha256sum | trunc 16 | quote }}
        {{- include "ion.checksums" $top | nindent 8 }}
        {{- with .values.pod.annotations }}{{ toYaml . | nindent 8 }}{{ end }}
    spec:
      serviceAccountName: {{ $name }}
      automountServiceAccountToken: {{ .token }}
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
      {{- include "ion.placement" (list $top .values) | nindent 6 }}
      {{- include "ion.secure.pod" . | nindent 6 }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "ion.selector" (list $top .component) | nindent 14 }}
      containers:
        - name: {{ .component }}
          image: {{ include "ion.image" $top | quote }}
          imagePullPolicy: {{ $top.Values.image.pullPolicy }}
          {{- .container | nindent 10 }}
          env:
            - {name: ION_HOME, value: /var/lib/ion/store}
            {{- with $top.Values.extra.env }}{{ toYaml . | nindent 12 }}{{ end }}
          envFrom:
            - secretRef: {name: {{ include "ion.secret" $top }}}
          resources:
            {{- toYaml .values.resources | nindent 12 }}
          {{- include "ion.secure.container" . | nindent 10 }}
          volumeMounts:
            - {name: config, mountPath: /etc/ion, readOnly: true}
            - {name: home, mountPath: /var/lib/ion}
            - {name: tmp, mountPath: /tmp}
            {{- if and (include "ion.tls" $top) (eq .component "management") }}
            - {name: tls, mountPath: /etc/ion-tls, readOnly: true}
            {{- end }}
            {{- with $top.Values.extra.volumeMounts }}{{ toYaml . | nindent 12 }}{{ end }}
      volumes:
        - name: config
          configMap: {name: {{ include "ion.name" $top }}}
        - {name: home, emptyDir: {}}
        - {name: tmp, emptyDir: {}}
        {{- if and (include "ion.tls" $top) (eq .component "management") }}
        - name: tls
          secret: {secretName: {{ include "ion.tls" $top }}, defaultMode: 0440}
        {{- end }}
        {{- with $top.Values.extra.volumes }}{{ toYaml . | nindent 8 }}{{ end }}
{{- end }}
