"""What makes Raft a frontend: frontend types, epoch fencing and the orderly change from one state to the next."""
