//! The work for one call until its response is delivered, which ends if the peer stops reading.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{call::Call, stalled_calls::Stall};

/// hyper's future for a call over HTTP/2: it runs the service and hands the response to h2. Dropped early, it resets the
/// stream.
pub(super) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The work for a call, which ends early if the peer grants no room for the response.
pub(super) struct Delivery {
    work: Work,
    call: Option<Arc<Call>>,
    /// The part of the response that waits, and the wait.
    stall: Option<(u32, Stall)>,
}

impl Delivery {
    pub(super) const fn new(work: Work, call: Option<Arc<Call>>) -> Self {
        Self { work, call, stall: None }
    }
}

impl Future for Delivery {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { work, call, stall } = &mut *self;
        if work.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some((call, part)) = call.as_ref().and_then(|call| Some((call, call.unsent_part()?))) else {
            *stall = None;
            return Poll::Pending;
        };
        if stall.as_ref().is_none_or(|(waiting, _)| *waiting != part) {
            *stall = Some((part, call.stall_of_response()));
        }
        match stall {
            Some((_, stall)) => stall.poll(context).map(drop),
            None => Poll::Pending,
        }
    }
}
