"""What is looked for without a packet: a function for each, which yields what it finds in a scene."""
