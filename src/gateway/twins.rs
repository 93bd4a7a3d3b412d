//! Headers that are there under two names: litellm's, which clients of it look for, and ours.

use http::{HeaderMap, HeaderName, HeaderValue};

/// A header's name here and at litellm.
pub(super) struct Twin {
    /// Ours.
    pub(super) own: HeaderName,
    /// litellm's.
    pub(super) litellm: HeaderName,
}

/// `x-feathergate-NAME` and `x-litellm-NAME`.
macro_rules! twin {
    ($name:literal) => {
        $crate::gateway::twins::Twin {
            own: http::HeaderName::from_static(concat!("x-feathergate-", $name)),
            litellm: http::HeaderName::from_static(concat!("x-litellm-", $name)),
        }
    };
}
pub(super) use twin;

impl Twin {
    /// Sets both.
    pub(super) fn say(&self, head: &mut HeaderMap, value: HeaderValue) {
        head.insert(&self.litellm, value.clone());
        head.insert(&self.own, value);
    }

    /// Sets both, if a header can hold the text.
    pub(super) fn say_text(&self, head: &mut HeaderMap, text: &str) {
        // Names of the configuration may hold what no header can.
        if let Some(value) = HeaderValue::from_str(text).ok().filter(|_| text.is_ascii()) {
            self.say(head, value);
        }
    }

    /// Both names, ours first.
    pub(super) fn names(&self) -> [&HeaderName; 2] {
        [&self.own, &self.litellm]
    }
}
