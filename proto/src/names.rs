//! The metrics that Weir publishes about itself: one table, against which code, dashboards and rules are checked.
