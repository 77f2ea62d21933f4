"""The pipeline file and its settings: text with positions in, frozen typed values out.

The way of a file: `source` reads YAML into `nodes` that know file and line; `load` merges includes, the profile and
`defaults` over each other (`patch`), fills in variables (`variables`) and hands the one tree that is left to the
table in `pipeline`. A table says of each key its kind (`kinds`, `tables`) and what it is for, so the decoder, the
refusal of unknown keys and the editors' schema (`schema`) come from one definition. Whatever is wrong is a
`PipelineError` that begins with `FILE:LINE`.
"""
