//! Sources of an answer's text. Gemini counts bytes within a part, every client counts characters of the whole text.

use super::types::Loose;
use crate::wire::event::Citation;
use crate::wire::fields::fields;
use crate::wire::text::Str;

/// The text of a choice, and where its parts begin.
#[derive(Debug, Default)]
pub(super) struct Spoken {
    text: String,
    /// Where each part begins in `text`. The last one may grow.
    parts: Vec<usize>,
    /// The last part is text.
    in_text: bool,
}

impl Spoken {
    /// More text. In another frame it goes on with the part before, unless a part of the same frame (`fresh`) is that.
    pub(super) fn text(&mut self, text: &str, fresh: bool) {
        if !self.in_text || fresh {
            self.parts.push(self.text.len());
            self.in_text = true;
        }
        self.text.push_str(text);
    }

    /// A part that is no text.
    pub(super) fn other(&mut self) {
        self.parts.push(self.text.len());
        self.in_text = false;
    }
}

#[derive(Default)]
struct Grounding<'a> {
    grounding_chunks: Option<Vec<Chunk<'a>>>,
    grounding_supports: Option<Vec<Support<'a>>>,
}
fields!(Grounding<'a> {
    grounding_chunks = "groundingChunks" | "grounding_chunks",
    grounding_supports = "groundingSupports" | "grounding_supports",
});

#[derive(Default)]
struct Chunk<'a> {
    web: Option<Source<'a>>,
    maps: Option<Source<'a>>,
    retrieved_context: Option<Source<'a>>,
}
fields!(Chunk<'a> { web, maps, retrieved_context = "retrievedContext" | "retrieved_context" });

#[derive(Default)]
struct Source<'a> {
    uri: Option<Str<'a>>,
    title: Option<Str<'a>>,
}
fields!(Source<'a> { uri, title });

#[derive(Default)]
struct Support<'a> {
    segment: Option<Segment<'a>>,
    grounding_chunk_indices: Option<Vec<usize>>,
}
fields!(Support<'a> { segment, grounding_chunk_indices = "groundingChunkIndices" | "grounding_chunk_indices" });

#[derive(Default)]
struct Segment<'a> {
    part_index: Loose<'a>,
    start_index: Loose<'a>,
    end_index: Loose<'a>,
    text: Option<Str<'a>>,
}
fields!(Segment<'a> {
    part_index = "partIndex" | "part_index", start_index = "startIndex" | "start_index",
    end_index = "endIndex" | "end_index", text,
});

/// Gives the citations that `metadata` holds: for each segment each of its sources that has an address. What cannot be read
/// is left out: a source is no reason to lose an answer.
pub(super) fn cite(metadata: &str, spoken: &Spoken, mut give: impl FnMut(Citation<'_>)) {
    let Ok(grounding) = serde_json::from_str::<Grounding<'_>>(metadata) else { return };
    let chunks = grounding.grounding_chunks.unwrap_or_default();
    let mut ruler = None;
    for support in grounding.grounding_supports.into_iter().flatten() {
        let Some((start, end)) = support.segment.and_then(|segment| place(&segment, spoken)) else { continue };
        let ruler = ruler.get_or_insert_with(|| Ruler::new(&spoken.text));
        let (start, end) = (ruler.characters(start), ruler.characters(end));
        for index in support.grounding_chunk_indices.unwrap_or_default() {
            let source = chunks.get(index).and_then(|chunk| {
                let sources = [&chunk.web, &chunk.maps, &chunk.retrieved_context];
                sources.into_iter().flatten().find_map(|source| Some((source.uri.as_deref()?, source)))
            });
            if let Some((url, source)) = source.filter(|(url, _)| !url.is_empty()) {
                let title = source.title.as_deref().unwrap_or_default();
                give(Citation { url: url.into(), title: title.into(), start, end });
            }
        }
    }
}

/// The bytes of the whole text that a segment covers.
fn place(segment: &Segment<'_>, spoken: &Spoken) -> Option<(usize, usize)> {
    let number = |loose: &Loose<'_>| usize::try_from(loose.count().unwrap_or(0)).ok();
    let (from, to) = (number(&segment.start_index)?, number(&segment.end_index)?);
    let part = number(&segment.part_index)?;
    let within = |base: usize| {
        let (from, to) = (base.checked_add(from)?, base.checked_add(to)?);
        let said = spoken.text.get(from..to)?;
        segment.text.as_ref().is_none_or(|text| *text == *said).then_some((from, to))
    };
    // In streams the count goes on over all chunks, whatever their parts are (recorded traffic, 2026-08).
    spoken.parts.get(part).and_then(|base| within(*base)).or_else(|| within(0))
}

/// Counts characters up to a byte without reading all of the text each time.
struct Ruler<'t> {
    text: &'t str,
    marks: Vec<usize>,
}

const STEP: usize = 256;

impl<'t> Ruler<'t> {
    fn new(text: &'t str) -> Self {
        let mut count = 0;
        let marks = text.as_bytes().chunks(STEP).map(|chunk| {
            let before = count;
            count += characters(chunk);
            before
        });
        Self { text, marks: marks.collect() }
    }

    fn characters(&self, byte: usize) -> usize {
        let mark = (byte / STEP).min(self.marks.len().saturating_sub(1));
        let rest = self.text.as_bytes().get(mark * STEP..byte).unwrap_or_default();
        self.marks.get(mark).copied().unwrap_or(0) + characters(rest)
    }
}

/// Bytes that begin a character.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte & 0xc0) != 0x80).count()
}
