"""Messages of etcd's v3 API: `etcd.proto`, and what protoc made of it (`etcd_pb2`)."""
