package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ikornaselur/notiflux/docs"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/server"
)

type object = map[string]any

// A contract is openapi.json as the server returns it.
type contract struct {
	document object
	compiler *jsonschema.Compiler
}

const contractURL = "https://notiflux.invalid/openapi.json"

func readContract(t *testing.T) contract {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(docs.OpenAPI()))
	if err != nil {
		t.Fatal(err)
	}
	c := contract{document.(object), jsonschema.NewCompiler()}
	if err := c.compiler.AddResource(contractURL, document); err != nil {
		t.Fatal(err)
	}
	return c
}

// operations returns the operations by "METHOD path", with the position of each.
func (c contract) operations() map[string]string {
	all := make(map[string]string)
	for path, methods := range c.document["paths"].(object) {
		for method := range methods.(object) {
			all[strings.ToUpper(method)+" "+path] = "/paths/" + strings.ReplaceAll(path, "/", "~1") + "/" + method
		}
	}
	return all
}

// at returns the value at a JSON pointer, and the pointer after all references on the way
// have been followed.
func (c contract) at(pointer string) (any, string) {
	value, place := any(c.document), ""
	for name := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		o, _ := value.(object)
		if value = o[strings.ReplaceAll(name, "~1", "/")]; value == nil {
			return nil, ""
		}
		place += "/" + name
		if o, ok := value.(object); ok && o["$ref"] != nil {
			value, place = c.at(strings.TrimPrefix(o["$ref"].(string), "#"))
		}
	}
	return value, place
}

func (c contract) object(pointer string) (object, string) {
	value, place := c.at(pointer)
	o, _ := value.(object)
	return o, place
}

func (c contract) validate(pointer string, value any) error {
	s, err := c.compiler.Compile(contractURL + "#" + pointer)
	if err != nil {
		return err
	}
	return s.Validate(value)
}

func TestOpenAPIHasEveryRoute(t *testing.T) {
	s, err := server.Open(withKey(t), server.Environment{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var routes []string
	for _, r := range server.Routes(s) {
		routes = append(routes, r.Method+" "+r.Path)
	}
	server.Drained(s)
	slices.Sort(routes)
	if got := slices.Sorted(maps.Keys(readContract(t).operations())); !slices.Equal(got, routes) {
		t.Errorf("openapi.yaml has %q, the server %q", got, routes)
	}
}

func withKey(t *testing.T) config.Serve {
	t.Helper()
	c := config.Default()
	servertest.Start(t, func(running *config.Serve) { c.JWTPublicKeyFile = running.JWTPublicKeyFile })
	c.Port, c.AdminAddr = 0, new("")
	return c
}

// A visit is a request and the status of its answer.
type visit struct {
	operation, query string
	headers          []string
	body             string
	status           int
}

// unseen are statuses that no request in this test can cause.
var unseen = map[int]string{500: "is for faults of the server: router.TestPanics has a handler that panics"}

// Each answer matches the one in openapi.yaml in every respect. Each answer in the document
// occurs, and each example of a problem is word for word what a client gets.
func TestOpenAPIHasEveryAnswer(t *testing.T) {
	servertest.NeedsMemory(t, "it refuses to publish to a topic for which there is no room")
	c := readContract(t)
	seen := make(map[string]bool)
	var bodies []any
	check := func(v visit, r *http.Response) {
		body, err := c.check(v, r)
		if err != nil {
			t.Errorf("%s%s %.80s: %v", v.operation, v.query, v.body, err)
		}
		seen[fmt.Sprint(v.operation, " ", r.StatusCode)] = true
		bodies = append(bodies, body)
	}
	visitRunning(t, check)
	visitFull(t, check)
	visitLimited(t, check)
	visitDraining(t, check)

	for operation, place := range c.operations() {
		responses, _ := c.object(place + "/responses")
		for status := range responses {
			_, exception := unseen[atoi(status)]
			if key := operation + " " + status; seen[key] == exception {
				t.Errorf("%s: seen: %t, want %t", key, seen[key], !exception)
			}
		}
	}
	for _, example := range c.problems() {
		if atoi(fmt.Sprint(example["status"])) != 500 && !slices.ContainsFunc(bodies, func(b any) bool { return reflect.DeepEqual(b, any(example)) }) {
			t.Errorf("no answer matches the example %v", example)
		}
	}
}

func atoi(s string) (n int) {
	_, _ = fmt.Sscan(s, &n)
	return n
}

// visitRunning visits a server with default settings, and one with a list of origins.
func visitRunning(t *testing.T, check func(visit, *http.Response)) {
	s := servertest.Start(t, nil)
	listen := []string{"Authorization", "Bearer " + s.Token(auth.Subscribe, "a")}
	publish := []string{"Authorization", "Bearer " + s.Token(auth.Broadcast, "a")}
	post := func(status int, body string, headers ...string) visit {
		return visit{"POST /broadcast", "", append(headers, publish...), body, status}
	}
	visits := []visit{
		post(200, `{"topic":"a","message":1,"key":"k"}`),
		post(200, `{"topics":["a","a"],"message":1}`),
		post(200, `[]`),
		post(207, `[{"topic":"a","message":1},{"topic":"b","message":1},1]`),
		post(400, `{"topic":"a"}`),
		post(400, `{"topic":"","message":1}`),
		post(403, `{"topic":"b","message":1}`),
		post(409, `{"topic":"a","message":2,"key":"k"}`),
		post(413, `{"topic":"a","message":"`+strings.Repeat("x", 64<<10+1)+`"}`),
		post(415, `{"topic":"a","message":1}`, "Content-Type", "text/plain"),
		{"POST /broadcast", "", nil, `{"topic":"a","message":1}`, 401},
		{"GET /ws", "", handshake, "", 101},
		{"GET /ws", "", append([]string{"Sec-WebSocket-Key", "x"}, handshake[2:]...), "", 400},
		{"GET /ws", "", nil, "", 426},
	}
	for _, operation := range []string{"GET /events", "GET /stream", "GET /poll", "GET /history", "GET /presence"} {
		visits = append(visits,
			visit{operation, "?topic=a", listen, "", 200},
			visit{operation, "?topic=a&since=AA", listen, "", 400},
			visit{operation, "?topic=", listen, "", 400},
			visit{operation, "", listen, "", 400},
			visit{operation, "?topic=a", nil, "", 401},
			visit{operation, "?topic=b", listen, "", 403},
		)
	}
	for _, operation := range []string{"POST /events", "POST /stream", "POST /poll"} {
		visits = append(visits,
			visit{operation, "", listen, `{"topics":["a"]}`, 200},
			visit{operation, "", listen, `{}`, 400},
			visit{operation, "", nil, `{"topics":["a"]}`, 401},
			visit{operation, "", listen, `{"topics":["b"]}`, 403},
			visit{operation, "", listen, `{"topics":["` + strings.Repeat("x", 1<<20) + `"]}`, 413},
			visit{operation, "", append([]string{"Content-Type", "text/plain"}, listen...), `{"topics":["a"]}`, 415},
		)
	}
	open := []string{"GET /health", "GET /livez", "GET /readyz", "GET /openapi.json"}
	for _, operation := range open {
		visits = append(visits, visit{operation, "", nil, "", 200})
	}
	for _, v := range visits {
		if v.operation == "GET /presence" && strings.Contains(v.query, "since") {
			continue // it has none
		}
		check(v, v.send(t, s))
	}
	listed := servertest.Start(t, func(c *config.Serve) { c.AllowedOrigins = []string{"https://app.example"} })
	for _, operation := range append(open, "GET /ws") {
		v := visit{operation, "", append([]string{"Origin", "https://other.example"}, handshake...), "", 403}
		check(v, v.send(t, listed))
	}
}

var handshake = []string{
	"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version", "13", "Upgrade", "websocket", "Connection", "Upgrade",
}

// visitFull visits a server at its limits of connections and topics.
func visitFull(t *testing.T, check func(visit, *http.Response)) {
	s := servertest.Start(t, func(c *config.Serve) { c.MaxConnections, c.MaxTopics = 1, 1 })
	s.Subscribe("a")
	listen := []string{"Authorization", "Bearer " + s.Token(auth.Subscribe, "a")}
	for _, v := range []visit{
		{"POST /broadcast", "", []string{"Authorization", "Bearer " + s.Token(auth.Broadcast, "b")}, `{"topic":"b","message":1}`, 503},
		{"GET /events", "?topic=a", listen, "", 503},
		{"GET /stream", "?topic=a", listen, "", 503},
		{"GET /ws", "", handshake, "", 503},
		{"POST /events", "", listen, `{"topics":["a"]}`, 503},
		{"POST /stream", "", listen, `{"topics":["a"]}`, 503},
	} {
		check(v, v.send(t, s))
	}
	cursor := mustRead(t, s, "/poll?topic=a", "a").Cursor
	for _, v := range []visit{
		{"GET /poll", "?topic=a&since=" + cursor, listen, "", 503},
		{"POST /poll", "", listen, fmt.Sprintf(`{"topics":["a"],"since":%q}`, cursor), 503},
	} {
		check(v, v.send(t, s))
	}
	busy, _ := full(t)
	listen[1] = "Bearer " + busy.Token(auth.Subscribe, "a")
	for _, operation := range []string{"GET /history", "GET /presence"} {
		v := visit{operation, "?topic=a", listen, "", 503}
		check(v, v.send(t, busy))
	}
}

// visitLimited sends requests to a server with limits on an address until it refuses them.
func visitLimited(t *testing.T, check func(visit, *http.Response)) {
	s := servertest.Start(t, func(c *config.Serve) { c.LimitConnectionsPerAddress, c.LimitRequestsPerAddress = 2, 2 })
	listen := []string{"Authorization", "Bearer " + s.Token(auth.Subscribe, "a")}
	visits := []visit{{"POST /broadcast", "", nil, "{}", 429}, {"GET /ws", "", handshake, "", 429}}
	for _, operation := range []string{"GET /events", "GET /stream", "GET /poll", "GET /history", "GET /presence"} {
		visits = append(visits, visit{operation, "?topic=a", listen, "", 429})
	}
	for _, operation := range []string{"POST /events", "POST /stream", "POST /poll"} {
		visits = append(visits, visit{operation, "", listen, "{}", 429})
	}
	for _, v := range visits {
		answer := v.send(t, s)
		for answer.StatusCode != v.status {
			answer.Body.Close()
			answer = v.send(t, s)
		}
		check(v, answer)
	}

	for _, change := range []func(*config.Serve){
		func(c *config.Serve) { c.MaxConnectionsPerAddress = 1 },
		func(c *config.Serve) { c.MaxConnectionsPerSubject = 1 },
	} {
		s := servertest.Start(t, change)
		v := visit{"GET /stream", "?topic=a", []string{"Authorization", "Bearer " + s.Token(auth.Subscribe, "a")}, "", 429}
		open := v.send(t, s)
		check(v, v.send(t, s))
		open.Body.Close()
	}

	s = servertest.Start(t, func(c *config.Serve) { c.LimitFailedTokensPerAddress, c.LimitBroadcastsPerSubject = 2, 1 })
	publish := []string{"Authorization", "Bearer " + s.Token(auth.Broadcast, "a")}
	message := visit{"POST /broadcast", "", publish, `{"topic":"a","message":1}`, 429}
	wrong := visit{"GET /history", "?topic=a", []string{"Authorization", "Bearer wrong"}, "", 429}
	for _, v := range []visit{message, wrong} {
		answer := v.send(t, s)
		for answer.StatusCode != v.status {
			answer.Body.Close()
			answer = v.send(t, s)
		}
		check(v, answer)
	}
}

func visitDraining(t *testing.T, check func(visit, *http.Response)) {
	s, err := server.Open(withKey(t), server.Environment{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	server.Drained(s).ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	check(visit{operation: "GET /readyz", status: 503}, w.Result())
}

// send returns the answer of s. The caller must close its body.
func (v visit) send(t *testing.T, s *servertest.Server) *http.Response {
	t.Helper()
	method, path, _ := strings.Cut(v.operation, " ")
	r, err := http.NewRequest(method, s.URL+path+v.query, strings.NewReader(v.body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(v.headers); i += 2 {
		r.Header.Add(v.headers[i], v.headers[i+1])
	}
	response, err := s.HTTP.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// check returns the body of an answer, if it has one that ends, and how the answer differs
// from openapi.yaml.
func (c contract) check(v visit, r *http.Response) (body any, err error) {
	defer r.Body.Close()
	if r.StatusCode != v.status {
		text, _ := io.ReadAll(io.LimitReader(r.Body, 300))
		return nil, fmt.Errorf("%s %s, want %d", r.Status, text, v.status)
	}
	response, place := c.object(c.operations()[v.operation] + "/responses/" + fmt.Sprint(r.StatusCode))
	if response == nil {
		return nil, fmt.Errorf("the status %d is not in openapi.yaml", r.StatusCode)
	}
	headers, _ := response["headers"].(object)
	for name, header := range headers {
		required, _ := header.(object)["required"].(bool)
		if values := r.Header.Values(name); required && len(values) != 1 {
			return nil, fmt.Errorf("the answer has the header %s %d times", name, len(values))
		}
		if value := r.Header.Get(name); value != "" {
			if err := c.validate(place+"/headers/"+name+"/schema", headerValue(value)); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	content, _ := response["content"].(object)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch media, known := content[kind].(object); {
	case len(content) == 0 && kind == "":
		return nil, nil
	case !known:
		return nil, fmt.Errorf("the media type %q is not in openapi.yaml", kind)
	case media["schema"] == nil: // a stream, which does not end
		return nil, nil
	}
	if body, err = jsonschema.UnmarshalJSON(r.Body); err != nil {
		return nil, err
	}
	return body, c.validate(place+"/content/"+strings.ReplaceAll(kind, "/", "~1")+"/schema", body)
}

// headerValue returns a number if s is one.
func headerValue(s string) any {
	if n := json.Number(s); s != "13" {
		if _, err := n.Int64(); err == nil {
			return n
		}
	}
	return s
}

// problems returns the examples of problems.
func (c contract) problems() (all []object) {
	var walk func(any)
	walk = func(value any) {
		switch v := value.(type) {
		case object:
			if v["code"] != nil && v["status"] != nil && v["detail"] != nil && v["title"] != nil && reflect.TypeOf(v["status"]) == reflect.TypeFor[json.Number]() {
				all = append(all, v)
			}
			for _, inner := range v {
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	walk(c.document)
	return all
}

// The file is served for GET and HEAD, to any page, and may be cached for an hour.
func TestOpenAPIIsServed(t *testing.T) {
	s := servertest.Start(t, nil)
	for _, method := range []string{"GET", "HEAD"} {
		r := visit{operation: method + " /openapi.json", headers: []string{"Origin", "https://app.example"}}.send(t, s)
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		want := docs.OpenAPI()
		if method == "HEAD" {
			want = ""
		}
		h := r.Header
		if err != nil || string(body) != want || r.ContentLength != int64(len(docs.OpenAPI())) || h.Get("Content-Type") != "application/json" ||
			h.Get("Cache-Control") != "public, max-age=3600" || h.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d bytes, %v, %v", method, len(body), err, h)
		}
	}
}
