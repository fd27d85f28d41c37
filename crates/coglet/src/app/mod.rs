//! What all requests share. The way of a prediction is in [`course`], what workers tell in [`workers`], and how other
//! code takes the place of what is served in [`renewal`].

mod course;
mod renewal;
mod workers;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::watch;

use crate::control::Control;
use crate::delivery::Deliveries;
use crate::files::{Files, Uploads};
use crate::health::{Health, Phase};
use crate::json::Parts;
use crate::measures::Measures;
use crate::memory::BodyMemory;
use crate::model::{Model, secret_inputs};
use crate::predictions::{History, Prediction, Registry};
use crate::quarantine::Quarantine;
use crate::ready::ReadySignal;
use crate::secrets::masked;
use crate::settings::ControlLine;
use crate::slots::Slots;
use crate::sync::lock;
use crate::traces::{Exporter, Tracer};
use crate::validate::{Accepted, Kind, Violation, accept_any_object};
use crate::webhooks::{WebhookRules, Webhooks};
use crate::worker::{Pool, Wish};
use crate::{Error, Settings};

use renewal::Renewal;
pub(crate) use renewal::Waited;

/// The server's shared state.
pub(crate) struct App {
    pub(crate) settings: Arc<Settings>,
    pub(crate) health: Health,
    pub(crate) slots: Slots,
    pub(crate) registry: Arc<Registry>,
    pub(crate) webhooks: Webhooks,
    pub(crate) quarantine: Quarantine,
    /// For what clients send.
    pub(crate) body_memory: BodyMemory,
    pub(crate) ready_signal: ReadySignal,
    pub(crate) control: Control,
    deliveries: Arc<Deliveries>,
    pub(crate) measures: Arc<Measures>,
    pub(crate) tracer: Option<Arc<Tracer>>,
    exporter: Mutex<Option<Exporter>>,
    files: Files,
    model: Mutex<Option<Arc<Model>>>,
    /// The workers that are set up.
    pub(crate) pool: Pool,
    /// What the workers are to do.
    pub(crate) wish: watch::Sender<Wish>,
    renewal: watch::Sender<Renewal>,
    /// Why nothing is to be served.
    withheld: Mutex<Option<String>>,
    /// Why nothing is served.
    failure: Mutex<Option<String>>,
    shutdown: watch::Sender<bool>,
}

impl App {
    pub(crate) fn new(mut settings: Settings) -> Result<Self, Error> {
        let (tracer, exporter) = settings.tracing.take().map(Tracer::new).unzip();
        let measures = Arc::new(Measures::default());
        let history = History::new(settings.history);
        let registry = Arc::new(Registry::new(history, Arc::clone(&measures)));
        let uploads = settings.upload_url.clone().map(Uploads::new);
        let deliveries = Deliveries::new(Arc::clone(&registry), uploads, settings.mode);
        Ok(Self {
            ready_signal: ReadySignal::new(settings.ready_fd)?,
            control: match settings.control {
                Some(_) => Control::open(),
                None => Control::default(),
            },
            health: Health::new(settings.workers, settings.setup_log_size),
            slots: Slots::new(settings.workers, settings.slots, settings.queue),
            registry,
            measures,
            quarantine: Quarantine::default(),
            body_memory: BodyMemory::new(
                settings.body_memory,
                u64::try_from(settings.max_body).unwrap_or(u64::MAX),
            ),
            tracer,
            exporter: Mutex::new(exporter),
            webhooks: Webhooks::new(WebhookRules {
                token: settings.webhook_token.clone(),
                token_hosts: settings.webhook_token_hosts.clone(),
                throttle_interval: settings.throttle_interval,
                max_calls: crate::descriptors::shares().calls,
                memory: settings.webhook_memory,
                destinations: settings.downloads.destinations.clone(),
            }),
            deliveries: Arc::new(deliveries),
            files: Files::new(settings.user_agent.clone(), settings.downloads.clone()),
            model: Mutex::default(),
            pool: Pool::new(settings.workers),
            wish: watch::Sender::new(Wish::default()),
            renewal: watch::Sender::new(match settings.control {
                // Who asks before the code is served waits for it.
                Some(ControlLine::Reload | ControlLine::Succeed) => Renewal::Starting,
                Some(ControlLine::Events) | None => Renewal::Settled,
            }),
            withheld: Mutex::default(),
            failure: Mutex::default(),
            shutdown: watch::Sender::new(false),
            settings: Arc::new(settings),
        })
    }

    /// What has to run beside everything else, if requests are traced. For one caller.
    pub(crate) fn take_exporter(&self) -> Option<Exporter> {
        lock(&self.exporter).take()
    }

    /// The newest model that a worker serves, or what was served last.
    pub(crate) fn model(&self) -> Option<Arc<Model>> {
        lock(&self.model).clone()
    }

    /// A prediction as far as it is, with its input but for what is secret in it.
    pub(crate) fn progress(&self, prediction: &Prediction) -> Parts {
        let asked = prediction.order.asked();
        // A later model may know nothing of what was secret when it was asked for.
        let secrets = secret_inputs([prediction.order.model.as_ref(), self.model().as_ref()]);
        let input = if secrets.is_empty() {
            asked.input.clone()
        } else {
            masked(&asked.input, &secrets)
        };
        prediction.render_with_input(input)
    }

    /// An input as this model takes it, stripped of what it does not know; else what is wrong with it.
    pub(crate) fn accept(
        &self,
        model: Option<&Model>,
        kind: Kind,
        input: &Bytes,
    ) -> Result<Accepted, Vec<Violation>> {
        let accepted = match model.and_then(|model| Some((model, model.schema()?))) {
            Some((model, schema)) => schema.accept(kind, input, &model.secrets),
            None => accept_any_object(input),
        }?;
        let violations = model.map_or_else(Vec::new, |model| {
            let most = self.settings.max_files;
            self.files
                .violations(&accepted.input, &model.signature, most)
        });
        if violations.is_empty() {
            Ok(accepted)
        } else {
            Err(violations)
        }
    }

    /// The model's author has allowed event streams.
    pub(crate) fn can_be_watched(&self) -> bool {
        self.model().is_some_and(|model| model.can_be_watched())
    }

    /// Predictions can be taken.
    pub(crate) fn is_ready(&self) -> bool {
        self.health.phase() == Phase::Ready
    }

    /// Asks the server to drain and stop.
    pub(crate) fn request_shutdown(&self) {
        self.shutdown.send_replace(true);
    }

    /// A shutdown was requested: what runs is finished, nothing new is begun.
    pub(crate) fn is_draining(&self) -> bool {
        *self.shutdown.borrow()
    }

    /// Setup has succeeded, now or earlier.
    pub(crate) fn has_been_ready(&self) -> bool {
        lock(&self.model).is_some()
    }

    /// Resolves when a shutdown was requested.
    pub(crate) async fn shutdown_requested(&self) {
        // The sender lives in `self`: it cannot have gone.
        let _ = self
            .shutdown
            .subscribe()
            .wait_for(|requested| *requested)
            .await;
    }
}
