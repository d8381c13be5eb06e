//! The store goes away and comes back.
