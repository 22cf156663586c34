# Varnish as a cache. Words in braces with a name are filled in by the runner.
vcl 4.1;

backend origin {
    .host = "{origin_host}";
    .port = "{origin_port}";
    .max_connections = 1000;
}

sub vcl_recv {
    # As shared caches may: a cookie is no obstacle.
    unset req.http.Cookie;
}
