"""The client: a mesh in a program, the futures of its tasks, and the thread that turns its sockets."""
