//! Requests that leave HTTP (RFC 9110, 7.8): they are answered by the same application, on a connection of their own.
//!
//! `actix_http`'s dispatcher keeps buffers of 27 kB for as long as a connection is open, and takes each byte through the
//! layers of a request's body. Once a WebSocket is open none of that is of use. The library hands such a request over
//! together with its connection where it is given a service for that; [`both`] makes one of the application itself.

use super::upgraded::{Connection, hand_over};
use actix_codec::Framed;
use actix_http::body::{BoxBody, MessageBody};
use actix_http::h1::Codec;
use actix_http::{Error, Request, Response};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config,
};
use actix_web::dev::AppConfig;
use futures_util::future::LocalBoxFuture;
use std::cell::OnceCell;
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncWrite};

/// Where the application of one thread is once it is made.
type Made<S> = Rc<OnceCell<Rc<S>>>;

/// An application as HTTP's service and [`both`] want it: its errors are answers.
pub fn application<I, S>(
    made: I,
) -> impl ServiceFactory<
    Request,
    Config = (),
    Response = S::Response,
    Error = Response<BoxBody>,
    InitError = S::InitError,
    Future = impl Future + 'static,
    Service = impl Service<
        Request,
        Response = S::Response,
        Error = Response<BoxBody>,
        Future = impl Future + 'static,
    >,
>
where
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
{
    let made = made.into_factory().map_err(|error| {
        let error: actix_web::Error = error.into();
        Response::<BoxBody>::from(error.error_response())
    });
    map_config(made, |()| AppConfig::default())
}

/// Splits the application of one thread in two: for requests that stay with HTTP, and for those that leave it on
/// connections of this kind.
#[expect(clippy::type_complexity, reason = "an opaque type cannot be given a name")]
pub fn both<F, T, B>(
    application: F,
) -> (
    Remembering<F>,
    impl ServiceFactory<
        (Request, Framed<T, Codec>),
        Config = (),
        Response = (),
        Error = Error,
        InitError = (),
        Future = impl Future + 'static,
    >,
)
where
    F: ServiceFactory<Request, Config = ()> + 'static,
    F::Error: Into<Response<BoxBody>>,
    F::Response: Into<Response<B>>,
    T: AsyncRead + AsyncWrite + Unpin + 'static,
    B: MessageBody + 'static,
{
    let made = Made::<F::Service>::default();
    let staying = Remembering { application, made: Rc::clone(&made) };
    let leaving = fn_service(move |(request, framed): (Request, Framed<T, Codec>)| {
        let application = made.get().map(Rc::clone);
        async move {
            // It is made before the first connection is taken.
            if let Some(application) = application {
                hand_over(application.as_ref(), request, Connection::new(framed)).await;
            }
            Ok::<(), Error>(())
        }
    });
    (staying, leaving)
}

/// Makes the application, and remembers what it has made.
#[derive(Debug)]
pub struct Remembering<F: ServiceFactory<Request>> {
    application: F,
    made: Made<F::Service>,
}

impl<F> ServiceFactory<Request> for Remembering<F>
where
    F: ServiceFactory<Request, Config = ()> + 'static,
    F::Future: 'static,
{
    type Response = F::Response;
    type Error = F::Error;
    type Config = ();
    type Service = Rc<F::Service>;
    type InitError = F::InitError;
    type Future = LocalBoxFuture<'static, Result<Self::Service, Self::InitError>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let making = self.application.new_service(());
        let made = Rc::clone(&self.made);
        Box::pin(async move {
            let service = Rc::new(making.await?);
            Ok(Rc::clone(made.get_or_init(|| service)))
        })
    }
}
