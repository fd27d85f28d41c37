//! OCI images: content store, layers, snapshots, manifests, registry client.
