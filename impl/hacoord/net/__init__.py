"""What passes between processes: sockets, frames, who is at the other end and what he may do, HTTP."""
