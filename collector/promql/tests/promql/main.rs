//! The engine as its users see it: scripts of the language, limits, answers that must not depend on how a query is
//! asked or evaluated, and expressions that nobody would write.

mod data;
mod expressions;
mod fuzz;
mod limits;
mod metamorphic;
mod plans;
mod scripts;
