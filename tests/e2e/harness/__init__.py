"""What the end-to-end tests stand on: labs of light hosts with kpeer and the stand-ins, and the running of tests."""
