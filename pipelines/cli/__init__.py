"""The commands of the stages, one file per noun; `pipelines.commands` lists them and each loads when it is called."""
