//! Calls that came without an id: old `function_call`s, and what some servers give. Their results come without one as well, and
//! find their calls by name and order.

use std::collections::{HashMap, VecDeque};

use crate::wire::ids;
use crate::wire::text::Str;

/// The calls without an id that wait for their results.
#[derive(Default)]
pub(super) struct Nameless<'a> {
    /// The ids that they have here, until their results came.
    ids: Vec<Option<String>>,
    /// Before it none waits.
    first: usize,
    of: HashMap<Str<'a>, VecDeque<usize>>,
}

impl<'a> Nameless<'a> {
    /// Takes a call of a tool and gives it an id.
    pub(super) fn call(&mut self, name: Str<'a>) -> String {
        let place = self.ids.len();
        let id = ids::mint("nameless", u32::try_from(place + 1).unwrap_or(u32::MAX));
        self.ids.push(Some(id.clone()));
        self.of.entry(name).or_default().push_back(place);
        id
    }

    /// The id of the first call that waits for a result, of this tool where the result names one.
    pub(super) fn answered(&mut self, name: Option<&Str<'a>>) -> Option<String> {
        if let Some(name) = name {
            let places = self.of.get_mut(name)?;
            while let Some(place) = places.pop_front() {
                if let Some(id) = self.ids.get_mut(place).and_then(Option::take) {
                    return Some(id);
                }
            }
            return None;
        }
        while let Some(waiting) = self.ids.get_mut(self.first) {
            self.first += 1;
            if let Some(id) = waiting.take() {
                return Some(id);
            }
        }
        None
    }
}
