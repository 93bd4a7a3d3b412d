//! Routes.

use super::Spec;

pub(super) static ROUTES: &[Spec] = &[];
