//! `cog login`: credentials for a registry, stored where other tools find them too.

use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use cog_config::DEFAULT_REGISTRY;
use cog_engine::Signal;
use cog_image::registry::{Client, ClientOptions, Keychain};

use super::Interrupted;
use crate::args::LoginArgs;
use crate::prompt::{self, Answer, ask, ask_hidden};
use crate::runtime::block_on;
use crate::session::Session;

/// How tokens begin that are for something else.
const API_TOKEN: &str = "r8_";

pub(crate) fn login(session: &Session<'_>, args: &LoginArgs) -> anyhow::Result<()> {
    let host = session.registry().unwrap_or(DEFAULT_REGISTRY);
    // A name that is none, or more than a name, is not where credentials go.
    let reference: cog_image::ImageRef = format!("{host}/name")
        .parse()
        .with_context(|| format!("`{host}` is not the name of a registry"))?;
    let is_docker = matches!(host, "docker.io" | "index.docker.io");
    if reference.registry() != host && !is_docker {
        bail!("`{host}` is not the name of a registry: expected a host with a dot or a port");
    }
    let keychain = Keychain::from_environment();
    if host == DEFAULT_REGISTRY {
        return login_with_token(session, args, host, &keychain);
    }
    login_with_password(session, args, reference.registry(), &keychain)
}

fn login_with_password(
    session: &Session<'_>,
    args: &LoginArgs,
    host: &str,
    keychain: &Keychain,
) -> anyhow::Result<()> {
    let printer = session.printer;
    if args.token_stdin && args.username.is_none() {
        bail!(
            "`--token-stdin` for {host} needs `--username NAME`: what is read is that user's password or token"
        );
    }
    printer.info(&format!("Logging in to {host}"));
    let username = match &args.username {
        Some(username) => username.clone(),
        None => ask(printer, "Username: ").context("could not read the user name")?,
    };
    let username = username.trim();
    if username.is_empty() {
        bail!("username cannot be empty");
    }
    let password = if args.token_stdin {
        prompt::rest_of_input().context("could not read the password")?
    } else {
        hidden(session, "Password: ")?
    };
    if password.is_empty() {
        bail!("password cannot be empty");
    }
    keychain
        .store(host, username, &password)
        .map_err(cog_image::Error::from)?;
    printer.success(&format!("Login succeeded for {host}"));
    Ok(())
}

/// With a token that people get from a page of the registry's.
fn login_with_token(
    session: &Session<'_>,
    args: &LoginArgs,
    host: &str,
    keychain: &Keychain,
) -> anyhow::Result<()> {
    let printer = session.printer;
    let client = Client::new(ClientOptions::from_environment()?)?;
    let token = if args.token_stdin {
        prompt::rest_of_input().context("could not read the token")?
    } else {
        let url = block_on(async { Ok(client.display_token_url(host).await?) })?;
        printer.info(&format!(
            "This command will authenticate Docker and other tools with {host}. You will need an account there."
        ));
        ask(
            printer,
            "Hit enter to get started. A browser will open with a page that shows a token: ",
        )
        .context("could not read standard input")?;
        open_browser(&url);
        printer.info(&format!("If it doesn't open by itself, go to {url}"));
        hidden(session, "Token: ")?
    };
    let token = token.trim();
    check_token(token)?;
    let username = block_on(async { Ok(client.verify_token(host, token).await?) })?;
    keychain
        .store(host, &username, token)
        .map_err(cog_image::Error::from)?;
    printer.success(&format!(
        "You've successfully authenticated as {username}! You can now use the {host} registry."
    ));
    Ok(())
}

fn check_token(token: &str) -> anyhow::Result<()> {
    if token.is_empty() {
        bail!("token is empty");
    }
    if token.starts_with(API_TOKEN) {
        bail!(
            "that looks like a Replicate API token, not a CLI auth token; the page that `cog login` opens shows one"
        );
    }
    Ok(())
}

fn hidden(session: &Session<'_>, question: &str) -> anyhow::Result<String> {
    match ask_hidden(session.printer, question).context("could not read the answer")? {
        Answer::Text(text) => Ok(text),
        Answer::Interrupted => Err(Interrupted(Signal::INT).into()),
    }
}

/// The address is shown as well: nobody depends on this.
fn open_browser(url: &str) {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let _ = Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_another_kind_are_refused() {
        let said = |token| check_token(token).map_err(|error| error.to_string());
        assert_eq!(said("abc"), Ok(()));
        assert_eq!(said(""), Err("token is empty".into()));
        let error = said("r8_abc").unwrap_err();
        assert!(
            error.contains("that looks like a Replicate API token, not a CLI auth token"),
            "{error}"
        );
    }
}
