//! A service as one connection calls it: each call is counted, and its request and response are watched.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use hyper::body::{Body, Bytes, Incoming};
use pin_project_lite::pin_project;
use tower::{Service, ServiceExt as _, util::Oneshot};

use super::{
    call::Call, inline_executor::InlineExecutor, request_body::RequestBody, response_body::ResponseBody,
    stalled_calls::StallLimits,
};
use crate::domain::peer::Peer;

/// A service as one connection calls it.
#[derive(Clone)]
pub(super) struct ConnectionService<S> {
    pub(super) service: S,
    pub(super) peer: Peer,
    pub(super) stalls: Arc<StallLimits>,
    /// Executor that delivers the responses over HTTP/2; `None` over HTTP/1.1, where the connection does.
    pub(super) executor: Option<InlineExecutor>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for ConnectionService<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = Infallible;
    type Future = ResponseFuture<S>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let call = Arc::new(Call::begin(&self.peer, &self.stalls, self.executor.is_some()));
        if let Some(executor) = &self.executor {
            executor.announce(&call);
        }
        request.extensions_mut().insert(self.peer.clone());
        let request = request.map(|body| RequestBody::new(body, Arc::clone(&call)));
        ResponseFuture { response: self.service.clone().oneshot(request), call }
    }
}

pin_project! {
    /// The service's work for one call.
    pub(super) struct ResponseFuture<S: Service<Request<RequestBody>>> {
        #[pin]
        response: Oneshot<S, Request<RequestBody>>,
        call: Arc<Call>,
    }
}

impl<S, B> Future for ResponseFuture<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
{
    type Output = Result<Response<ResponseBody<B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = std::task::ready!(this.response.poll(context))?;
        this.call.hands_over();
        let call = Arc::clone(this.call);
        Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, call))))
    }
}
