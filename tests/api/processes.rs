//! The real program: started, stopped, killed.
