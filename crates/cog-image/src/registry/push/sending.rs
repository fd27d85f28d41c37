//! Sends a blob: at once, whole or in pieces, and goes on after trouble.
//!
//! After each trouble the registry is asked what has arrived, and sending goes on from there; an upload that
//! it has lost begins anew. `session` knows what the registry said, `source` gives the bytes.

use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use reqwest::{Method, Response};

use super::event::PushEvent;
use super::session::{Mode, Session, arrived};
use super::source::{Failure, Flow, Source};
use super::upload::{Begun, Upload};
use crate::digest::Hasher;
use crate::error::Result;
use crate::registry::answer::{
    is_transient, refusal, retry_after, unreachable, words, worth_retrying,
};
use crate::registry::error::RegistryError;
use crate::registry::transport::{Length, MAX_PAUSE, Request, Wait, wait};

/// An upload that advanced this far, in bytes, beyond what ever had arrived, counts its attempts anew.
const ADVANCE: u64 = 4 * 1024 * 1024;
/// How often progress is told, and looked at whether there is any.
const TICK: Duration = Duration::from_millis(100);

/// A blob that is being sent.
pub(super) struct Sending<'a> {
    upload: &'a Upload<'a>,
    session: Session,
    mode: Mode,
    /// The hash of bytes that have arrived, of all of them if there was no trouble.
    mark: Hasher,
    attempt: u32,
    /// The most that had ever arrived when attempts were counted anew.
    best: u64,
    /// Whether it was begun anew because the registry did not like how it came.
    restarted: bool,
    /// How much had arrived when a token was refused last.
    renewed_at: Option<u64>,
}

/// What became of one request that sends.
enum Step {
    Advanced,
    Complete,
    Trouble(Trouble),
}

/// Something went wrong that may not the next time.
struct Trouble {
    error: RegistryError,
    pause: Pause,
    then: Then,
}

enum Pause {
    None,
    /// Longer each time.
    BackOff,
    /// What the registry asked for.
    Exactly(Duration),
}

#[derive(PartialEq, Eq)]
enum Then {
    /// The registry has said what has arrived.
    GoOn,
    /// There was no answer: what was sent may still be on its way.
    AskWhatArrives,
    AskState,
    BeginAnew,
    /// And in one piece.
    BeginWhole,
}

impl<'a> Sending<'a> {
    pub(super) fn new(upload: &'a Upload<'a>, session: Session) -> Self {
        Self {
            mode: Mode::choose(upload.blob.size, upload.options, session.limits),
            upload,
            session,
            mark: Hasher::default(),
            attempt: 1,
            best: 0,
            restarted: false,
            renewed_at: None,
        }
    }

    pub(super) async fn run(mut self) -> Result<()> {
        loop {
            match self.step().await? {
                Step::Advanced => {}
                Step::Complete => return Ok(()),
                Step::Trouble(trouble) => {
                    if self.recover(trouble).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// One request. What cannot be helped is an error.
    async fn step(&mut self) -> Result<Step> {
        let size = self.upload.blob.size;
        let from = self.session.offset;
        if from >= size {
            return self.commit().await;
        }
        let to = match self.mode {
            Mode::AtOnce => return self.send_and_commit().await,
            Mode::Whole => size,
            Mode::Chunks(chunk) => from.saturating_add(chunk).min(size),
        };
        let (body, flow) = self.source().body(&self.mark, from, to).await?;
        let mut request = self
            .upload
            .request(Method::PATCH, &self.session)
            .with(CONTENT_TYPE, "application/octet-stream")
            .with(CONTENT_LENGTH, (to - from).to_string());
        if (from, to) != (0, size) {
            request = request.with(CONTENT_RANGE, format!("{from}-{}", to - 1));
        }
        let response = match self.send(&request, Some(body), &flow, to).await? {
            Ok(response) => response,
            Err(trouble) => return Ok(Step::Trouble(trouble)),
        };
        self.follow(&request, &response)?;
        let confirmed = match arrived(&response) {
            // `0-0` says that one byte has arrived, or none.
            None => to,
            Some(0) if to == 1 => 1,
            Some(arrived) => arrived,
        };
        if confirmed == to {
            self.session.offset = to;
            self.mark = flow.mark();
            return Ok(Step::Advanced);
        }
        let then = if confirmed < to {
            self.stand_at(confirmed);
            Then::GoOn
        } else {
            Then::BeginAnew
        };
        Ok(Step::Trouble(Trouble {
            error: self.interrupted(None, String::new()),
            pause: Pause::BackOff,
            then,
        }))
    }

    /// All of it, with the request that makes a blob of it.
    async fn send_and_commit(&mut self) -> Result<Step> {
        let size = self.upload.blob.size;
        let (body, flow) = self.source().body(&self.mark, 0, size).await?;
        let request = self
            .commit_request(size)
            .with(CONTENT_TYPE, "application/octet-stream");
        match self.send(&request, Some(body), &flow, size).await? {
            Ok(response) => self.completed(&response),
            Err(trouble) => Ok(Step::Trouble(trouble)),
        }
    }

    /// Everything has arrived: makes a blob of it.
    async fn commit(&mut self) -> Result<Step> {
        let request = self.commit_request(0);
        let flow = Flow::still(self.mark.clone());
        let size = self.upload.blob.size;
        match self.send(&request, None, &flow, size).await? {
            Ok(response) => self.completed(&response),
            // An answer may have been lost: then there is no upload any more, but the blob.
            Err(trouble) if trouble.then == Then::BeginAnew && self.is_there().await? => {
                Ok(Step::Complete)
            }
            Err(trouble) => Ok(Step::Trouble(trouble)),
        }
    }

    /// The request that completes the upload, with so many bytes of content.
    fn commit_request(&self, length: u64) -> Request<'a> {
        let mut request = self
            .upload
            .request(Method::PUT, &self.session)
            .with(CONTENT_LENGTH, length.to_string());
        request.path = self
            .session
            .commit_url(&self.upload.blob.digest.to_string());
        request
    }

    fn completed(&self, response: &Response) -> Result<Step> {
        let repository = &self.upload.repository;
        repository.check_digest("a blob", response, self.upload.blob.digest)?;
        Ok(Step::Complete)
    }

    fn source(&self) -> Source<'a> {
        Source {
            store: self.upload.store,
            transport: self.upload.repository.transport,
            blob: self.upload.blob,
        }
    }

    async fn is_there(&self) -> Result<bool> {
        self.upload.repository.has(self.upload.blob).await
    }

    /// Sends `request` once and judges the answer.
    async fn send(
        &mut self,
        request: &Request<'_>,
        body: Option<reqwest::Body>,
        flow: &Flow,
        to: u64,
    ) -> Result<Result<Response, Trouble>> {
        let transport = self.upload.repository.transport;
        let length = match self.mode {
            Mode::AtOnce => Length::Small,
            Mode::Whole | Mode::Chunks(_) => Length::Any,
        };
        let (mut builder, token) = transport.prepare(request, length)?;
        if let Some(body) = body {
            builder = builder.body(body);
        }
        let sent = self.watch(builder, flow, to).await;
        let broken = |error| Trouble {
            error,
            pause: Pause::BackOff,
            then: Then::AskWhatArrives,
        };
        let response = match sent {
            Ok(response) => response,
            Err(error) => {
                let error = match flow.take_failure() {
                    Some(Failure::Lasting(failure)) => return Err(failure),
                    Some(Failure::Passing(error)) => error,
                    None => error,
                };
                return match error {
                    Some(error) if !worth_retrying(&error, self.attempt) => {
                        Err(unreachable(request.registry, error).into())
                    }
                    error => Ok(Err(broken(self.interrupted(error, String::new())))),
                };
            }
        };
        let status = response.status();
        if status.is_success() {
            return Ok(Ok(response));
        }
        let is_first = self.session.offset == 0 && self.mode == Mode::Whole;
        let pause = retry_after(&response).map_or(Pause::BackOff, Pause::Exactly);
        Ok(Err(match status.as_u16() {
            // Fresh, it is refused as well.
            401 if self.renewed_at == Some(self.session.offset) => {
                return Err(refusal(request, response).await.into());
            }
            401 => {
                self.renewed_at = Some(self.session.offset);
                let error = self.interrupted(None, String::new());
                let tell = |wait| (self.upload.repository.tell)(PushEvent::Waiting(wait));
                transport
                    .renew(request, response, token.as_ref(), &tell)
                    .await?;
                Trouble {
                    error,
                    pause: Pause::None,
                    then: Then::AskState,
                }
            }
            404 | 410 => Trouble {
                error: self.interrupted(None, words(response).await.into_text()),
                pause: Pause::BackOff,
                then: Then::BeginAnew,
            },
            400 | 405 | 411 | 415 | 416 if !is_first && !self.restarted => Trouble {
                error: refusal(request, response).await,
                pause: Pause::None,
                then: Then::BeginWhole,
            },
            _ if is_transient(status) => Trouble {
                error: refusal(request, response).await,
                pause,
                then: Then::AskState,
            },
            _ => return Err(refusal(request, response).await.into()),
        }))
    }

    /// Waits for the answer as long as bytes are taken, and then for the time that checking may take. An error
    /// without a cause: it took too long.
    async fn watch(
        &self,
        builder: reqwest::RequestBuilder,
        flow: &Flow,
        to: u64,
    ) -> Result<Response, Option<reqwest::Error>> {
        let options = self.upload.options;
        let mut response = std::pin::pin!(builder.send());
        let mut told = self.session.offset;
        loop {
            let tick = tokio::time::timeout(TICK, &mut response).await;
            let position = flow.position();
            if position != told {
                told = position;
                self.tell_position(position);
            }
            if let Ok(result) = tick {
                return result.map_err(Some);
            }
            let limit = if position < to {
                options.stall_limit
            } else {
                options.answer_limit
            };
            if flow.idle() > limit {
                return Err(None);
            }
        }
    }

    fn tell_position(&self, done: u64) {
        let digest = self.upload.blob.digest;
        (self.upload.repository.tell)(PushEvent::Advanced { digest, done });
    }

    /// Waits, and finds out where to go on. Whether the blob is there after all.
    async fn recover(&mut self, trouble: Trouble) -> Result<bool> {
        let transport = self.upload.repository.transport;
        if self.session.offset > self.best + ADVANCE {
            self.best = self.session.offset;
            self.attempt = 1;
        }
        if !transport.may_retry(self.attempt) {
            return Err(trouble.error.into());
        }
        let pause = match trouble.pause {
            Pause::None => Duration::ZERO,
            Pause::BackOff => transport.back_off(self.attempt),
            Pause::Exactly(pause) => pause.min(MAX_PAUSE),
        };
        self.attempt += 1;
        if self.mode == Mode::AtOnce {
            // From now on as every registry takes it, and as it can go on where it was broken off.
            self.mode = Mode::Whole;
        }
        if !pause.is_zero() {
            (self.upload.repository.tell)(PushEvent::Waiting(Wait {
                what: self.upload.blob.digest.short(),
                pause,
                reason: trouble.error.passing_reason(),
            }));
            wait(pause).await;
        }
        match trouble.then {
            Then::GoOn => {}
            Then::AskState | Then::AskWhatArrives => {
                let was_complete = self.session.offset >= self.upload.blob.size;
                if was_complete && self.is_there().await? {
                    return Ok(true);
                }
                if !self.ask_state().await? {
                    self.begin_anew().await?;
                } else if self.session.offset == 0 && trouble.then == Then::AskWhatArrives {
                    // It would come between what is sent next.
                    self.upload.cancel(&self.session).await;
                    self.begin_anew().await?;
                }
            }
            Then::BeginAnew => self.begin_anew().await?,
            Then::BeginWhole => {
                self.upload.cancel(&self.session).await;
                self.begin_anew().await?;
                self.mode = Mode::Whole;
                self.restarted = true;
            }
        }
        self.tell_position(self.session.offset);
        Ok(false)
    }

    /// Asks the registry what has arrived. Whether it knows.
    async fn ask_state(&mut self) -> Result<bool> {
        let request = self.upload.request(Method::GET, &self.session);
        let response = match self.upload.repository.send(&request).await {
            Ok(response) => response,
            Err(
                RegistryError::NotFound { .. }
                | RegistryError::Status {
                    status: 400..=499, ..
                },
            ) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        match arrived(&response) {
            Some(arrived) if arrived <= self.upload.blob.size => {
                self.follow(&request, &response)?;
                self.stand_at(arrived);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn begin_anew(&mut self) -> Result<()> {
        let begun = self.upload.begin(None).await?;
        if let Begun::Session(session) = begun {
            self.session = session;
        }
        self.mark = Hasher::default();
        Ok(())
    }

    fn follow(&mut self, request: &Request<'_>, response: &Response) -> Result<()> {
        let location = self.upload.repository.location(request, response)?;
        if let Some(location) = location {
            self.session.location = location;
        }
        Ok(())
    }

    /// So much has arrived. What the mark has hashed beyond it is hashed again.
    fn stand_at(&mut self, arrived: u64) {
        self.session.offset = arrived;
        if self.mark.size() > arrived {
            self.mark = Hasher::default();
        }
    }

    fn interrupted(&self, source: Option<reqwest::Error>, message: String) -> RegistryError {
        RegistryError::UploadInterrupted {
            registry: self.upload.repository.registry.to_owned(),
            digest: self.upload.blob.digest,
            done: self.session.offset,
            size: self.upload.blob.size,
            message,
            source: source.map(reqwest::Error::without_url),
        }
    }
}
