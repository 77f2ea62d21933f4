{{- define "ion.name" -}}
{{- if contains "ion" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-ion" (.Release.Name | trunc 36 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- /* What selects the pods of one component: (list $ "gateway") */}}
{{- define "ion.selector" -}}
app.kubernetes.io/name: ion
app.kubernetes.io/instance: {{ include "ion.name" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "ion.labels" -}}
{{ include "ion.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* Name, namespace and labels of an object: (list $ "management" "the-name") */}}
{{- define "ion.metadata" -}}
name: {{ index . 2 }}
namespace: {{ (index . 0).Release.Namespace }}
labels:
  {{- include "ion.labels" . | nindent 2 }}
{{- end }}

{{- define "ion.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "ion.secret" -}}
{{ .Values.secret.existing | default (include "ion.name" .) }}
{{- end }}

{{- define "ion.tls" -}}
{{- if .Values.tls.certManager.enabled }}{{ include "ion.name" . }}-tls{{ else }}{{ .Values.tls.secret }}{{ end }}
{{- end }}

{{- /* Not empty if the management API is to be reached from outside of the cluster. */}}
{{- define "ion.public" -}}
{{- if ne .Values.management.service.type "ClusterIP" }}yes{{ end }}
{{- end }}

{{- /* The Service of management's figures. */}}
{{- define "ion.figures" -}}
{{ include "ion.name" . }}-management{{ if include "ion.public" . }}-metrics{{ end }}
{{- end }}

{{- define "ion.jobs.namespace" -}}
{{ .Values.jobs.namespace | default .Release.Namespace }}
{{- end }}

{{- define "ion.jobs.account" -}}
{{ .Values.jobs.serviceAccount.name | default (printf "%s-job" (include "ion.name" .)) }}
{{- end }}

{{- /* The labels of all job pods of this Ion, as its dispatchers give them. */}}
{{- define "ion.jobs.selector" -}}
app.kubernetes.io/name: ion
app.kubernetes.io/component: job
app.kubernetes.io/instance: {{ (include "ion.config" . | fromYaml).kubernetes.instance }}
{{- end }}

{{- define "ion.policy.api" -}}
{{ if semverCompare ">=1.21.0-0" .Capabilities.KubeVersion.Version }}policy/v1{{ else }}policy/v1beta1{{ end }}
{{- end }}
