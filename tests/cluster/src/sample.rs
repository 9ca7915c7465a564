//! Which part of a test that is long by nature runs this time.

/// One of several parts of a test. `make test` runs one part, another one at each commit; `make test-all` runs all.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The part that runs and how many there are; `None` runs everything.
    part: Option<(usize, usize)>,
}

impl Sample {
    /// The part that `GITWARD_SEED` names out of `parts`; everything where the variable is not set.
    ///
    /// # Panics
    /// Where the variable is no number.
    pub fn one_of(parts: usize) -> Sample {
        let seed = std::env::var("GITWARD_SEED").ok();
        let seed = seed.map(|seed| seed.parse::<usize>().expect("GITWARD_SEED is a number"));
        Sample { part: seed.map(|seed| (seed % parts, parts)) }
    }

    /// Whether the item with this number is in the part.
    pub fn has(self, number: usize) -> bool {
        self.part.is_none_or(|(part, parts)| number % parts == part)
    }

    /// Whether everything runs.
    pub fn is_whole(self) -> bool {
        self.part.is_none()
    }
}
