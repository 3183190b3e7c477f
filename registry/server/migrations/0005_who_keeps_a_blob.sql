-- Ships with 0004: no home was ever left between the two.
-- Who names a blob: asked for every stored file by `reg gc` and `reg doctor --fsck`, the former while others wait to write.

CREATE INDEX artifacts_by_manifest ON artifacts (manifest_md5);

CREATE INDEX manifests_by_md5 ON manifests (md5);

CREATE INDEX run_files_by_md5 ON run_files (md5);
