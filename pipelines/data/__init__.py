"""What a dataset is: how its files are recognised, read, checked, described and compared.

`reading.inspect` looks at a folder before it becomes an artifact, `reading.load` opens the artifact's folder again, and both
go through the same reader of the same format, so what was checked is what is trained on. One file per format (`idx`, `npz`,
`image_folders`, `tables`); `spec` is the description that travels with the data. Nothing is imported here: a command that
only writes samples should not wait for pyarrow.
"""
