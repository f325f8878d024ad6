//! The questions in a query: `uri=…&field=Name: value`.

use http::{HeaderName, HeaderValue, Method, Request, Uri, header, request, uri::PathAndQuery};

/// The request that `/explain` is asked about: a GET in the form in which a server gets it.
///
/// # Errors
///
/// A sentence for the operator.
pub(super) fn question(query: &str) -> Result<request::Parts, &'static str> {
    let mut request = Request::new(()).into_parts().0;
    request.method = Method::GET;
    let mut uri = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "uri" => uri = Some(value.parse::<Uri>().map_err(|_| "The uri is no URI.\n")?),
            "field" => {
                let (name, value) = value.split_once(':').ok_or("A field is like `Name: value`.\n")?;
                let name =
                    name.trim().parse::<HeaderName>().map_err(|_| "There is no field of that name.\n")?;
                let value = HeaderValue::try_from(value.trim()).map_err(|_| "No field has that value.\n")?;
                request.headers.append(name, value);
            }
            _ => return Err("The parameters are uri and field.\n"),
        }
    }
    let uri = uri.ok_or("Which uri?\n")?;
    if let Some(authority) = uri.authority().filter(|_| !request.headers.contains_key(header::HOST)) {
        let host = HeaderValue::try_from(authority.as_str()).map_err(|_| "The uri has no such host.\n")?;
        request.headers.insert(header::HOST, host);
    }
    let target = uri.into_parts().path_and_query;
    request.uri = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Ok(request)
}

/// The number that a query has for this name. `None` if it is no number.
pub(super) fn number(query: &str, name: &str, default: usize) -> Option<usize> {
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    parameters.find(|(known, _)| known == name).map_or(Some(default), |(_, value)| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_becomes_a_request_as_a_server_gets_it() {
        for (query, uri, host) in [
            ("uri=http://a.example:81/b%2520c.mp4?d=e%26f", "/b%20c.mp4?d=e&f", Some("a.example:81")),
            ("uri=%2Fb.mp4", "/b.mp4", None),
            ("uri=http://a.example", "/", Some("a.example")),
            ("uri=http://a.example/b.mp4&field=Host:%20c.example", "/b.mp4", Some("c.example")),
        ] {
            let request = question(query).unwrap();
            assert_eq!(request.uri, uri, "{query}");
            let found = request.headers.get(header::HOST).map(|host| host.to_str().unwrap());
            assert_eq!(found, host, "{query}");
        }
        let request = question("uri=/&field=Accept-Language:+de&field=Cookie:a=b").unwrap();
        assert_eq!(request.headers[header::ACCEPT_LANGUAGE], "de");
        assert_eq!(request.headers[header::COOKIE], "a=b");
    }

    #[test]
    fn a_question_that_is_none_gets_a_sentence() {
        for query in
            ["", "uri=", "uri=a b", "uri=/&field=x", "uri=/&field=%20:x", "uri=/&field=x:%00", "url=/"]
        {
            assert!(
                question(query).is_err_and(|wrong| wrong.ends_with(".\n") || wrong.ends_with("?\n")),
                "{query}"
            );
        }
        assert_eq!(
            [number("n=3", "n", 9), number("m=3", "n", 9), number("n=-3", "n", 9)],
            [Some(3), Some(9), None]
        );
    }
}
