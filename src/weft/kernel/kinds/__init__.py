"""One kind of object each: how it is read, written, and told of by the kernel."""
