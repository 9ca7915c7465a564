//! One admission call, from its body to its answer.

use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use gitward_core::verdict::{
    Decision, Found, Known, Policy, Request, ReviewError, Step, Verdict, Wanted, judge, judge_head, message,
};
use jiff::Timestamp;
use thiserror::Error;

use super::answer::Answer;
use super::bodies::Body;
use super::judging::{Judges, JudgingError};
use super::lookup::Lookup;
use super::metrics::Metrics;
use super::record::Recorder;
use super::state::State;

/// Where a review has to begin with who asks and what for, to be decided by that alone.
const HEAD: usize = 16 << 10;
/// How many rounds of look-ups a review may take: each generation of owners is one.
const ROUNDS: u32 = 12;

/// Everything that a call needs.
pub(super) struct Reviewer {
    pub(super) state: State,
    pub(super) lookup: Lookup,
    pub(super) recorder: Recorder,
    pub(super) judges: Judges,
    pub(super) metrics: Metrics,
}

/// Why a call has no verdict.
#[derive(Debug, Error)]
pub(super) enum Unanswered {
    /// The body is no review.
    #[error(transparent)]
    Review(#[from] ReviewError),
    /// It was not judged.
    #[error(transparent)]
    Judging(#[from] JudgingError),
}

impl Unanswered {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Unanswered::Review(_) => StatusCode::BAD_REQUEST,
            Unanswered::Judging(JudgingError::Overdue) => StatusCode::SERVICE_UNAVAILABLE,
            Unanswered::Judging(JudgingError::Failed) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// An answer as bytes, with what it decided.
pub(super) type Answered = (Vec<u8>, Decision);

/// What a round of judging came to.
enum Round {
    Answered(Answered),
    Needs(Vec<Wanted>, Known),
}

impl Reviewer {
    /// Judges the review in `body`, records a refusal, and returns the answer.
    ///
    /// # Errors
    /// Where the body is no review, or the deadline is over before it is judged.
    pub(super) async fn answer(self: &Arc<Reviewer>, body: Body, deadline: Instant) -> Result<Answered, Unanswered> {
        let policy = self.state.policy();
        if let Some(head) = Request::head(&body.bytes()[..body.bytes().len().min(HEAD)])
            && let Some(verdict) = judge_head(&head, &policy)
        {
            return Ok(answer(&head, &verdict, None)?);
        }
        let body = Arc::new(body);
        let (mut known, mut rounds, mut held) = (Known::default(), 0, Vec::new());
        loop {
            let (reviewer, round_body, round_policy) = (self.clone(), body.clone(), policy.clone());
            let round = move || reviewer.round(round_body.bytes(), &round_policy, known);
            match self.judges.judge(body.bytes().len(), deadline, round).await?? {
                Round::Answered(answered) => {
                    self.metrics.lookup_rounds(rounds);
                    return Ok(answered);
                }
                Round::Needs(wanted, so_far) => {
                    known = so_far;
                    rounds += 1;
                    if rounds > ROUNDS {
                        let failed = || Found::Failed(format!("it takes more than {ROUNDS} rounds of look-ups"));
                        wanted.into_iter().for_each(|wanted| known.add(wanted, failed()));
                    } else {
                        held.push(self.lookup.find(wanted, &policy.owner, &mut known).await);
                    }
                }
            }
        }
    }

    /// Judges with what is known so far. It reads the review again, which is little beside a look-up.
    fn round(&self, body: &[u8], policy: &Policy, known: Known) -> Result<Round, ReviewError> {
        let request = Request::parse(body)?;
        let verdict = match judge(&request, policy, &known) {
            Step::Need(wanted) => return Ok(Round::Needs(wanted, known)),
            Step::Done(verdict) => verdict,
        };
        let sync = verdict.pin.as_ref().and_then(|pin| self.state.sync(pin));
        let message = message(&verdict, sync.as_ref());
        if verdict.is_recorded() {
            self.recorder.record(&request, &verdict, Timestamp::now());
        }
        answer(&request, &verdict, message.as_deref()).map(Round::Answered)
    }
}

fn answer(request: &Request<'_>, verdict: &Verdict, message: Option<&str>) -> Result<Answered, ReviewError> {
    let answer = Answer::new(&request.uid, verdict, message);
    let answer = serde_json::to_vec(&answer).map_err(ReviewError::Malformed)?;
    Ok((answer, verdict.decision))
}
