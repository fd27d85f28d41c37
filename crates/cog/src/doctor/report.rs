//! What is told of the checks, and how it ends.

use cog_errors::Colour;
use serde_json::{Value, json};

use super::Check;
use super::finding::{Finding, Severity};
use crate::printer::Printer;

/// Tells each check's result as it comes, and counts.
pub(super) struct Report<'p> {
    printer: &'p Printer,
    mends: bool,
    errors: usize,
    warnings: usize,
    fixed: usize,
    /// Some of what was found could be mended.
    can_mend: bool,
    /// A fix was asked for and did not work.
    failed: bool,
    /// What came of each check, for programs.
    checks: Vec<Value>,
}

/// What came of a check.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Passed,
    /// Something is wrong.
    Found,
    Fixed,
    /// It was to be mended, and could not be.
    Refused,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Found => "found",
            Self::Fixed => "fixed",
            Self::Refused => "refused",
        }
    }
}

impl<'p> Report<'p> {
    pub(super) fn begin(printer: &'p Printer, mends: bool) -> Self {
        printer.info("NOTE: cog doctor is experimental. What it finds and says may change.");
        let flag = if mends { " --fix" } else { "" };
        printer.info(&format!("Running cog doctor{flag}..."));
        Self {
            printer,
            mends,
            errors: 0,
            warnings: 0,
            fixed: 0,
            can_mend: false,
            failed: false,
            checks: Vec::new(),
        }
    }

    pub(super) fn group(&self, title: &str) {
        self.printer.detail_of(&format!("\n{title}"));
    }

    pub(super) fn found(&mut self, check: &Check, found: &[Finding]) {
        let outcome = if found.is_empty() {
            Outcome::Passed
        } else {
            Outcome::Found
        };
        self.keep(check, outcome, found, None);
        self.can_mend |= check.fix.is_some() && !found.is_empty();
        self.title(check.title, found);
        self.list(found);
    }

    pub(super) fn fixed(&mut self, check: &Check, found: &[Finding], left: &[Finding]) {
        self.fixed += found.len().saturating_sub(left.len());
        if !left.is_empty() {
            return self.found(check, left);
        }
        self.keep(check, Outcome::Fixed, found, None);
        self.printer.success(&format!("Fixed: {}", check.title));
        for finding in found {
            self.printer.detail_of(&format!("    {finding}"));
        }
    }

    pub(super) fn refused(&mut self, check: &Check, found: &[Finding], why: &anyhow::Error) {
        self.failed = true;
        self.printer.error(check.title);
        self.list(found);
        let why = cog_errors::render(why.as_ref(), None, Colour::Off);
        self.keep(check, Outcome::Refused, found, Some(&why));
        self.printer
            .detail_of(&format!("    could not fix this: {why}"));
    }

    fn keep(&mut self, check: &Check, outcome: Outcome, found: &[Finding], why: Option<&str>) {
        self.checks.push(json!({
            "group": check.group.title(),
            "title": check.title,
            "outcome": outcome.name(),
            "can_fix": check.fix.is_some(),
            "why_not": why,
            "findings": found.iter().map(Finding::as_json).collect::<Vec<_>>(),
        }));
    }

    /// `cog doctor --json`.
    pub(super) fn as_json(&self) -> Value {
        json!({
            "errors": self.errors,
            "warnings": self.warnings,
            "fixed": self.fixed,
            "checks": self.checks,
        })
    }

    /// Whether something is left that has to be seen to.
    pub(super) fn end(self) -> bool {
        let Self {
            printer,
            errors,
            warnings,
            fixed,
            ..
        } = self;
        printer.detail_of("");
        if fixed > 0 {
            printer.success(&format!("Fixed {fixed} issue(s)."));
        }
        if errors + warnings > 0 {
            printer.info(&format!("Found {errors} error(s), {warnings} warning(s)."));
            if self.can_mend && !self.mends {
                printer.info("Run \"cog doctor --fix\" to auto-fix.");
            }
        } else if fixed == 0 && !self.failed {
            printer.success("no issues found");
        }
        errors > 0 || self.failed
    }

    fn title(&self, title: &str, found: &[Finding]) {
        match found.iter().map(|finding| finding.severity).max() {
            None => self.printer.success(title),
            Some(Severity::Warning) => self.printer.warning(title),
            Some(Severity::Error) => self.printer.error(title),
        }
    }

    fn list(&mut self, found: &[Finding]) {
        for finding in found {
            match finding.severity {
                Severity::Error => self.errors += 1,
                Severity::Warning => self.warnings += 1,
            }
            self.printer.detail_of(&format!("    {finding}"));
            if let Some(remediation) = finding.remediation.as_ref().filter(|_| self.mends) {
                let remediation = cog_errors::plain(remediation);
                self.printer
                    .detail_of(&format!("    Remediation: {remediation}"));
            }
        }
    }
}
