"""The cluster's connectivity tested: what is tested (`plan`), what is said of it (`report`), how agents are asked (`run`)."""
