//! The routes by name: as they are counted, logged and guarded.

/// Which route a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Index,
    HealthCheck,
    Live,
    Ready,
    Startup,
    Docs,
    Playground,
    OpenApi,
    Metrics,
    Shutdown,
    Predictions,
    Prediction,
    PredictionCancel,
    Trainings,
    Training,
    TrainingCancel,
    Unknown,
}

impl Route {
    /// In the order of their numbers.
    pub(crate) const ALL: &'static [Self] = &[
        Self::Index,
        Self::HealthCheck,
        Self::Live,
        Self::Ready,
        Self::Startup,
        Self::Docs,
        Self::Playground,
        Self::OpenApi,
        Self::Metrics,
        Self::Shutdown,
        Self::Predictions,
        Self::Prediction,
        Self::PredictionCancel,
        Self::Trainings,
        Self::Training,
        Self::TrainingCancel,
        Self::Unknown,
    ];

    pub(crate) fn of(path: &str) -> Self {
        match path {
            "/" => Self::Index,
            "/health-check" => Self::HealthCheck,
            "/health/live" => Self::Live,
            "/health/ready" => Self::Ready,
            "/health/startup" => Self::Startup,
            "/docs" => Self::Docs,
            "/openapi.json" => Self::OpenApi,
            "/metrics" => Self::Metrics,
            "/shutdown" => Self::Shutdown,
            "/predictions" => Self::Predictions,
            "/trainings" => Self::Trainings,
            _ => Self::of_resource(path),
        }
    }

    fn of_resource(path: &str) -> Self {
        if let Some(name) = path.strip_prefix("/playground/") {
            let is_one = !name.is_empty() && !name.contains('/');
            return if is_one {
                Self::Playground
            } else {
                Self::Unknown
            };
        }
        let (rest, one, cancel) = if let Some(rest) = path.strip_prefix("/predictions/") {
            (rest, Self::Prediction, Self::PredictionCancel)
        } else if let Some(rest) = path.strip_prefix("/trainings/") {
            (rest, Self::Training, Self::TrainingCancel)
        } else {
            return Self::Unknown;
        };
        match rest.split_once('/') {
            _ if rest.is_empty() || rest.starts_with('/') => Self::Unknown,
            None => one,
            Some((_, "cancel")) => cancel,
            Some(_) => Self::Unknown,
        }
    }

    /// As it is written in the documentation.
    pub(crate) fn pattern(self) -> &'static str {
        match self {
            Self::Index => "/",
            Self::HealthCheck => "/health-check",
            Self::Live => "/health/live",
            Self::Ready => "/health/ready",
            Self::Startup => "/health/startup",
            Self::Docs => "/docs",
            Self::Playground => "/playground/{id}",
            Self::OpenApi => "/openapi.json",
            Self::Metrics => "/metrics",
            Self::Shutdown => "/shutdown",
            Self::Predictions => "/predictions",
            Self::Prediction => "/predictions/{id}",
            Self::PredictionCancel => "/predictions/{id}/cancel",
            Self::Trainings => "/trainings",
            Self::Training => "/trainings/{id}",
            Self::TrainingCancel => "/trainings/{id}/cancel",
            Self::Unknown => "unknown",
        }
    }

    /// Open even where a token is needed: what an orchestrator asks, which has none to give.
    pub(crate) fn is_probe(self) -> bool {
        matches!(
            self,
            Self::HealthCheck | Self::Live | Self::Ready | Self::Startup
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_its_own_route() {
        for (number, route) in Route::ALL.iter().enumerate() {
            assert_eq!(*route as usize, number);
            assert_eq!(Route::of(&route.pattern().replace("{id}", "x")), *route);
        }
    }

    #[test]
    fn what_is_not_served_is_unknown() {
        for path in [
            "/predictions/",
            "/predictions//cancel",
            "/predictions/x/",
            "/predictions/x/y/cancel",
            "/health",
            "/health-check/",
            "//health-check",
            "/Shutdown",
        ] {
            assert_eq!(Route::of(path), Route::Unknown, "{path}");
        }
    }
}
