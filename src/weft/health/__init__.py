"""Health checks of services' members, each made by the member's own host: which there are (`checks`), what their answers come
to (`state`), how they are asked (`probe`), and what is written of it for all hosts (`checker`)."""
