"""The model kept and watched. One protocol (`protocol`), an embedded store (`sqlite`), a cluster's store (`etcd`)."""
