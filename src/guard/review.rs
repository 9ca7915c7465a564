//! One admission call, from its body to its answer.

use gitward_core::verdict::{Decision, Known, Policy, Request, ReviewError, Step, Verdict, judge, judge_head, message};
use jiff::Timestamp;

use super::answer::Answer;
use super::lookup::Lookup;
use super::state::State;
use crate::record::Recorder;

/// Everything that a call needs.
pub(super) struct Reviewer {
    pub(super) state: State,
    pub(super) lookup: Lookup,
    pub(super) recorder: Recorder,
}

impl Reviewer {
    /// Judges the review in `body`, records a refusal, and returns the answer's bytes with what it decided.
    ///
    /// # Errors
    /// Where the body is no review.
    pub(super) async fn answer(&self, body: &[u8]) -> Result<(Vec<u8>, Decision), ReviewError> {
        let policy = self.state.policy();
        if let Some(head) = Request::head(body)
            && let Some(verdict) = judge_head(&head, &policy)
        {
            return answer(&head, &verdict, None);
        }
        let request = Request::parse(body)?;
        let verdict = self.verdict(&request, &policy).await;
        let sync = verdict.pin.as_ref().and_then(|pin| self.state.sync(pin));
        let message = message(&verdict, sync.as_ref());
        if verdict.is_recorded() {
            self.recorder.record(&request, &verdict, Timestamp::now());
        }
        answer(&request, &verdict, message.as_deref())
    }

    async fn verdict(&self, request: &Request<'_>, policy: &Policy) -> Verdict {
        let mut known = Known::default();
        loop {
            match judge(request, policy, &known) {
                Step::Done(verdict) => return *verdict,
                Step::Need(wanted) => self.lookup.find(wanted, &policy.owner, &mut known).await,
            }
        }
    }
}

fn answer(request: &Request<'_>, verdict: &Verdict, message: Option<&str>) -> Result<(Vec<u8>, Decision), ReviewError> {
    let answer = Answer::new(&request.uid, verdict, message);
    let answer = serde_json::to_vec(&answer).map_err(ReviewError::Malformed)?;
    Ok((answer, verdict.decision))
}
