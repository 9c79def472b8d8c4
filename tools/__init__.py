"""What can be done to a recording: one file a capability, pure function in, typed result out."""
