// Drives Ollama's own Go package, on which its command line stands. It decodes times, integers and
// lines strictly (docs/facts/clients.md#go-client).
//
// "driver URL CHAT EMBEDDING [NAME...]" prints one JSON line per scenario, with name, ok and
// detail, as the drivers in Python do.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ollama/ollama/api"
)

const (
	question        = "What grows in the orchard behind the harbour? Answer in two sentences."
	weatherQuestion = "What is the weather in Lisbon? Use the tool get_weather."
	twoQuestion     = "Use get_weather for Lisbon and get_time for the zone CET, both of them."
	personQuestion  = "Describe a keeper of a lighthouse named Ada."
	// The tests let the stand-in keep this answer back, and close its connection within that one.
	heldQuestion   = "[hold] " + question
	brokenQuestion = "[break] " + question
	missingModel   = "nobody/has-this-model:7b"
	timeLimit      = 30 * time.Second
)

const toolsText = `[
  {"type": "function", "function": {"name": "get_weather", "description": "The weather in a city.",
    "parameters": {"type": "object", "required": ["city"], "properties": {
      "city": {"type": "string"}, "days": {"type": "integer"}}}}},
  {"type": "function", "function": {"name": "get_time", "description": "The time in a zone.",
    "parameters": {"type": "object", "required": ["zone"], "properties": {
      "zone": {"type": "string", "enum": ["UTC", "CET"]}}}}}
]`

const personSchema = `{"type": "object", "required": ["name", "age", "trade"],
  "additionalProperties": false, "properties": {"name": {"type": "string"},
    "age": {"type": "integer"}, "trade": {"type": "string", "enum": ["keeper", "sailor"]}}}`

// A picture of one grey pixel, in the smallest PNG that holds it.
var pixel = []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00" +
	"\x00\x00\x00:~\x9bU\x00\x00\x00\nIDATx\x9cch\x00\x00\x00\x82\x00\x81w\xcdr\xb6\x00\x00" +
	"\x00\x00IEND\xaeB`\x82")

var version = regexp.MustCompile(`^\d+\.\d+\.\d+$`)

// A driver works in one place: a server and the names of two models as clients say them.
type driver struct {
	*api.Client
	context.Context
	chat, embedding string
}

type scenario struct {
	name string
	run  func(*driver) error
}

var scenarios = []scenario{
	{"heartbeat", func(d *driver) error { return d.Heartbeat(d) }},
	{"version", runVersion},
	{"list", runList},
	{"show", runShow},
	{"list_running", runListRunning},
	{"chat", runChat},
	{"chat_stream", runChatStream},
	{"chat_options", runChatOptions},
	{"chat_image", runChatImage},
	{"think_stream", runThinkStream},
	{"think_level", runThinkLevel},
	{"think_false", runThinkFalse},
	{"tools_roundtrip", runToolsRoundtrip},
	{"tools_parallel_stream", runToolsParallelStream},
	{"format_schema", runFormatSchema},
	{"format_json", runFormatJSON},
	{"generate", runGenerate},
	{"generate_stream", runGenerateStream},
	{"embed", runEmbed},
	{"embeddings_legacy", runEmbeddingsLegacy},
	{"pull", runPull},
	{"create_copy_delete", runCreateCopyDelete},
	{"load_and_unload", runLoadAndUnload},
	{"missing_model_chat", runMissingChat},
	{"missing_model_generate", runMissingGenerate},
	{"missing_model_show", runMissingShow},
	{"missing_model_embed", runMissingEmbed},
	{"stream_abort", runStreamAbort},
	{"stream_breaks_off", runStreamBreaksOff},
}

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: driver URL CHAT EMBEDDING [NAME...]")
		os.Exit(2)
	}
	base, err := url.Parse(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	code := 0
	for _, one := range scenarios {
		if len(os.Args) > 4 && !slices.Contains(os.Args[4:], one.name) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
		d := &driver{api.NewClient(base, &http.Client{}), ctx, os.Args[2], os.Args[3]}
		detail := ""
		if err := one.run(d); err != nil {
			detail = fmt.Sprintf("%T: %v", err, err)
			code = 1
		}
		cancel()
		line, _ := json.Marshal(map[string]any{
			"name": one.name, "ok": detail == "", "detail": detail,
		})
		fmt.Println(string(line))
	}
	os.Exit(code)
}

// check returns an error unless a condition holds.
func check(holds bool, format string, values ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf("not so: "+format, values...)
}

// first returns the first error among several, and nil when there is none.
func first(errors ...error) error {
	for _, err := range errors {
		if err != nil {
			return err
		}
	}
	return nil
}

func said(text string) []api.Message {
	return []api.Message{{Role: "user", Content: text}}
}

func (d *driver) ask(text string) *api.ChatRequest {
	return &api.ChatRequest{Model: d.chat, Messages: said(text)}
}

// whole makes a request's answer come in one piece.
func whole(request *api.ChatRequest) *api.ChatRequest {
	stream := false
	request.Stream = &stream
	return request
}

func think(value any) *api.ThinkValue {
	text, _ := json.Marshal(value)
	var level api.ThinkValue
	if err := json.Unmarshal(text, &level); err != nil {
		panic(err)
	}
	return &level
}

func tools() api.Tools {
	var offered api.Tools
	if err := json.Unmarshal([]byte(toolsText), &offered); err != nil {
		panic(err)
	}
	return offered
}

// speak sends a chat request, checks the frames of its answer, and joins them into the last one.
func (d *driver) speak(request *api.ChatRequest, reason string) (api.ChatResponse, int, error) {
	var joined api.ChatResponse
	var text, thinking strings.Builder
	var calls []api.ToolCall
	frames := 0
	err := d.Chat(d, request, func(frame api.ChatResponse) error {
		err := first(
			check(!joined.Done, "frame %d is the last, it comes after the end", frames),
			check(frame.Model == d.chat, "model %q", frame.Model),
			check(frame.Message.Role == "assistant", "role %q", frame.Message.Role),
			checkTime(frame.CreatedAt),
			check(frame.Message.Content == "" || frame.Message.Thinking == "" || frame.Done,
				"text and thinking have frames of their own: %v", frame.Message),
			check(text.Len() == 0 || frame.Message.Thinking == "", "thinking comes first"),
		)
		frames++
		text.WriteString(frame.Message.Content)
		thinking.WriteString(frame.Message.Thinking)
		calls = append(calls, frame.Message.ToolCalls...)
		joined = frame
		return err
	})
	joined.Message.Content, joined.Message.Thinking = text.String(), thinking.String()
	joined.Message.ToolCalls = calls
	return joined, frames, first(err, checkEnd(joined.Done, joined.DoneReason, reason, joined.Metrics))
}

func checkEnd(done bool, reason, wanted string, counts api.Metrics) error {
	return first(
		check(done, "the last frame is done"),
		check(reason == wanted, "done_reason %q is %q", reason, wanted),
		check(counts.EvalCount > 0 && counts.PromptEvalCount > 0, "counts in %+v", counts),
		check(counts.TotalDuration > 0 && counts.TotalDuration < time.Hour, "times in %+v", counts),
	)
}

func checkTime(moment time.Time) error {
	age := time.Since(moment)
	return check(-time.Minute < age && age < time.Hour, "%v is a time of this hour", moment)
}

func checkUnit[Number float32 | float64](vector []Number) error {
	sum := 0.0
	for _, value := range vector {
		sum += float64(value) * float64(value)
	}
	return check(math.Abs(math.Sqrt(sum)-1) < 1e-3, "a vector of length %f has length 1", sum)
}

func checkWeather(call api.ToolCall) error {
	city, _ := call.Function.Arguments.Get("city")
	text, isText := city.(string)
	return first(
		check(call.Function.Name == "get_weather", "%q is get_weather", call.Function.Name),
		check(isText && text != "", "city %v", city),
		check(call.ID != "", "a call has an id"),
	)
}

func plain(name string) string { return strings.TrimSuffix(name, ":latest") }

func runVersion(d *driver) error {
	text, err := d.Version(d)
	return first(err, check(version.MatchString(text), "version %q", text))
}

func runList(d *driver) error {
	list, err := d.List(d)
	if err != nil {
		return err
	}
	digests, names := map[string]bool{}, map[string]bool{}
	for _, model := range list.Models {
		digests[model.Digest], names[plain(model.Name)] = true, true
		err := first(
			check(model.Size > 0, "size %d of %s", model.Size, model.Name),
			check(!model.ModifiedAt.IsZero(), "modified_at of %s", model.Name),
			check(model.Model == model.Name, "%s is %s", model.Model, model.Name),
		)
		if err != nil {
			return err
		}
	}
	return first(
		check(names[d.chat], "%s is among %v", d.chat, names),
		check(len(digests) == len(list.Models), "digests are distinct: %v", digests),
	)
}

func runShow(d *driver) error {
	shown, err := d.Show(d, &api.ShowRequest{Model: d.chat})
	if err != nil {
		return err
	}
	window := 0.0
	for key, value := range shown.ModelInfo {
		if number, isNumber := value.(float64); isNumber && strings.HasSuffix(key, ".context_length") {
			window = number
		}
	}
	return first(
		check(window > 0, "context_length in %v", shown.ModelInfo),
		check(len(shown.Capabilities) >= 4, "capabilities %v", shown.Capabilities),
		check(shown.Details.QuantizationLevel != "", "details %+v", shown.Details),
	)
}

func (d *driver) running() (*api.ProcessModelResponse, error) {
	list, err := d.ListRunning(d)
	if err != nil {
		return nil, err
	}
	for _, model := range list.Models {
		if plain(model.Name) == d.chat {
			return &model, nil
		}
	}
	return nil, nil
}

func runListRunning(d *driver) error {
	if _, _, err := d.speak(d.ask(question), "stop"); err != nil {
		return err
	}
	model, err := d.running()
	if err != nil || model == nil {
		return first(err, check(false, "%s is running", d.chat))
	}
	return first(
		check(model.Size > 0 && model.SizeVRAM >= 0, "sizes in %+v", model),
		check(model.ExpiresAt.After(time.Now()), "expires_at %v", model.ExpiresAt),
		check(model.ContextLength > 0, "context_length in %+v", model),
	)
}

func runChat(d *driver) error {
	answer, frames, err := d.speak(whole(d.ask(question)), "stop")
	return first(err, check(frames == 1 && answer.Message.Content != "", "one frame with text"))
}

func runChatStream(d *driver) error {
	answer, frames, err := d.speak(d.ask(question), "stop")
	return first(err, check(frames > 2 && answer.Message.Content != "", "%d frames", frames))
}

func runChatOptions(d *driver) error {
	request := d.ask(question)
	request.Options = map[string]any{"temperature": 0.0, "num_predict": 4, "stop": []string{"\x1c"}}
	request.KeepAlive = &api.Duration{Duration: 5 * time.Minute}
	request.Think = think(false)
	answer, _, err := d.speak(request, "length")
	return first(err, check(answer.EvalCount <= 4, "eval_count %d", answer.EvalCount))
}

func runChatImage(d *driver) error {
	without, _, err := d.speak(d.ask(question), "stop")
	request := d.ask(question)
	request.Messages[0].Images = []api.ImageData{pixel}
	answer, _, err2 := d.speak(request, "stop")
	counts := answer.PromptEvalCount > without.PromptEvalCount
	return first(err, err2, check(counts, "the picture counts"))
}

func runThinkStream(d *driver) error {
	request := d.ask(question)
	request.Think = think(true)
	answer, _, err := d.speak(request, "stop")
	both := answer.Message.Thinking != "" && answer.Message.Content != ""
	return first(err, check(both, "thinking and text in %+v", answer.Message))
}

func runThinkLevel(d *driver) error {
	request := whole(d.ask(question))
	request.Think = think("high")
	answer, _, err := d.speak(request, "stop")
	return first(err, check(answer.Message.Thinking != "", "thinking"))
}

func runThinkFalse(d *driver) error {
	request := d.ask(question)
	request.Think = think(false)
	answer, _, err := d.speak(request, "stop")
	return first(err, check(answer.Message.Thinking == "", "no thinking"))
}

func runToolsRoundtrip(d *driver) error {
	request := whole(d.ask(weatherQuestion))
	request.Tools = tools()
	answer, _, err := d.speak(request, "stop")
	if err != nil {
		return err
	}
	if calls := len(answer.Message.ToolCalls); calls != 1 {
		return check(false, "%d calls are one", calls)
	}
	call := answer.Message.ToolCalls[0]
	result := api.Message{
		Role: "tool", Content: "17 degrees", ToolName: call.Function.Name, ToolCallID: call.ID,
	}
	request.Messages = append(request.Messages, answer.Message, result)
	second, _, err := d.speak(request, "stop")
	inWords := second.Message.Content != "" && len(second.Message.ToolCalls) == 0
	return first(err, checkWeather(call), check(inWords, "an answer in words"))
}

func runToolsParallelStream(d *driver) error {
	request := d.ask(twoQuestion)
	request.Tools, request.Think = tools(), think(false)
	answer, _, err := d.speak(request, "stop")
	if err != nil {
		return err
	}
	names := []string{}
	indexes := map[int]bool{}
	for _, call := range answer.Message.ToolCalls {
		names = append(names, call.Function.Name)
		indexes[call.Function.Index] = true
	}
	slices.Sort(names)
	return first(
		check(slices.Equal(names, []string{"get_time", "get_weather"}), "calls of %v", names),
		check(len(indexes) == 2, "indexes %v", indexes),
	)
}

func runFormatSchema(d *driver) error {
	request := whole(d.ask(personQuestion))
	request.Format = json.RawMessage(personSchema)
	answer, _, err := d.speak(request, "stop")
	if err != nil {
		return err
	}
	var person struct {
		Name  *string `json:"name"`
		Age   *int    `json:"age"`
		Trade *string `json:"trade"`
	}
	strict := json.NewDecoder(strings.NewReader(answer.Message.Content))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&person); err != nil {
		return fmt.Errorf("%s: %w", answer.Message.Content, err)
	}
	whole := person.Name != nil && person.Age != nil && person.Trade != nil
	return check(whole && slices.Contains([]string{"keeper", "sailor"}, *person.Trade),
		"%s is an instance of the schema", answer.Message.Content)
}

func runFormatJSON(d *driver) error {
	request := whole(d.ask(personQuestion + " Answer in JSON."))
	request.Format = json.RawMessage(`"json"`)
	answer, _, err := d.speak(request, "stop")
	var object map[string]any
	return first(err, json.Unmarshal([]byte(answer.Message.Content), &object))
}

// tell sends a generate request and checks the frames of its answer, of which it returns the last.
func (d *driver) tell(request *api.GenerateRequest) (api.GenerateResponse, string, int, error) {
	var last api.GenerateResponse
	var text strings.Builder
	frames := 0
	err := d.Generate(d, request, func(frame api.GenerateResponse) error {
		err := first(
			check(!last.Done, "frame %d is the last, it comes after the end", frames),
			check(frame.Model == request.Model, "model %q", frame.Model),
			checkTime(frame.CreatedAt),
		)
		frames++
		text.WriteString(frame.Response)
		last = frame
		return err
	})
	return last, text.String(), frames, err
}

func runGenerate(d *driver) error {
	stream := false
	request := &api.GenerateRequest{
		Model: d.chat, Prompt: question, System: "Be brief.", Stream: &stream,
		Images: []api.ImageData{pixel},
	}
	last, text, frames, err := d.tell(request)
	return first(
		err,
		check(frames == 1 && text != "", "%d frames with %q", frames, text),
		checkEnd(last.Done, last.DoneReason, "stop", last.Metrics),
	)
}

func runGenerateStream(d *driver) error {
	request := &api.GenerateRequest{Model: d.chat, Prompt: "The lighthouse stood on", Raw: true}
	last, text, frames, err := d.tell(request)
	return first(
		err,
		check(frames > 2 && text != "", "%d frames with %q", frames, text),
		checkEnd(last.Done, last.DoneReason, "stop", last.Metrics),
	)
}

func runEmbed(d *driver) error {
	answer, err := d.Embed(d, &api.EmbedRequest{
		Model: d.embedding, Input: []string{"harbour", "a lantern in the fog"}, Dimensions: 8,
	})
	if err != nil {
		return err
	}
	if err := check(len(answer.Embeddings) == 2, "%d vectors", len(answer.Embeddings)); err != nil {
		return err
	}
	for _, vector := range answer.Embeddings {
		err := first(check(len(vector) == 8, "%d dimensions", len(vector)), checkUnit(vector))
		if err != nil {
			return err
		}
	}
	return first(
		check(answer.Model == d.embedding, "model %q", answer.Model),
		check(answer.PromptEvalCount > 0, "prompt_eval_count %d", answer.PromptEvalCount),
		check(answer.TotalDuration > 0, "total_duration %v", answer.TotalDuration),
	)
}

func runEmbeddingsLegacy(d *driver) error {
	answer, err := d.Embeddings(d, &api.EmbeddingRequest{Model: d.embedding, Prompt: question})
	if err != nil {
		return err
	}
	return check(len(answer.Embedding) > 8, "%d dimensions", len(answer.Embedding))
}

// A model that is here is pulled at once.
func runPull(d *driver) error {
	status := ""
	err := d.Pull(d, &api.PullRequest{Model: d.chat}, func(progress api.ProgressResponse) error {
		status = progress.Status
		return nil
	})
	return first(err, check(status == "success", "last status %q", status))
}

// A made model tells what it was made of; its copy answers, and both are gone when deleted.
func runCreateCopyDelete(d *driver) error {
	made, copied := "driver-made-by-go", "driver-copied-by-go"
	request := &api.CreateRequest{
		Model: made, From: d.chat, System: "Be brief.", Parameters: map[string]any{"temperature": 0.25},
	}
	status := ""
	if err := d.Create(d, request, func(progress api.ProgressResponse) error {
		status = progress.Status
		return nil
	}); err != nil {
		return err
	}
	if err := check(status == "success", "last status %q", status); err != nil {
		return err
	}
	shown, err := d.Show(d, &api.ShowRequest{Model: made})
	if err != nil {
		return err
	}
	if err := check(shown.System == "Be brief.", "system %q", shown.System); err != nil {
		return err
	}
	if err := d.Copy(d, &api.CopyRequest{Source: made, Destination: copied}); err != nil {
		return err
	}
	_, text, _, err := d.tell(&api.GenerateRequest{Model: copied, Prompt: question})
	if err := first(err, check(text != "", "no text")); err != nil {
		return err
	}
	for _, name := range []string{made, copied} {
		if err := d.Delete(d, &api.DeleteRequest{Model: name}); err != nil {
			return err
		}
	}
	return checkMissing(d.Delete(d, &api.DeleteRequest{Model: made}))
}

// As the command line loads a model before it talks, and stops one.
func runLoadAndUnload(d *driver) error {
	last, text, frames, err := d.tell(&api.GenerateRequest{Model: d.chat})
	if err := first(
		err, check(frames == 1 && text == "" && last.DoneReason == "load", "loaded: %+v", last),
	); err != nil {
		return err
	}
	if model, err := d.running(); err != nil || model == nil {
		return first(err, check(false, "%s is loaded", d.chat))
	}
	request := &api.GenerateRequest{Model: d.chat, KeepAlive: &api.Duration{}}
	last, _, _, err = d.tell(request)
	if err := first(err, check(last.DoneReason == "unload", "unloaded: %+v", last)); err != nil {
		return err
	}
	for {
		model, err := d.running()
		if err != nil || model == nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func checkMissing(err error) error {
	refusal, isRefusal := err.(api.StatusError)
	return first(
		check(isRefusal, "%v is a StatusError", err),
		check(refusal.StatusCode == http.StatusNotFound, "status %d", refusal.StatusCode),
		check(strings.Contains(refusal.ErrorMessage, "not found"), "error %q", refusal.ErrorMessage),
	)
}

func runMissingChat(d *driver) error {
	request := &api.ChatRequest{Model: missingModel, Messages: said(question)}
	streamed := d.Chat(d, request, func(api.ChatResponse) error { return nil })
	oneShot := d.Chat(d, whole(request), func(api.ChatResponse) error { return nil })
	return first(checkMissing(streamed), checkMissing(oneShot))
}

func runMissingGenerate(d *driver) error {
	request := &api.GenerateRequest{Model: missingModel, Prompt: question}
	return checkMissing(d.Generate(d, request, func(api.GenerateResponse) error { return nil }))
}

func runMissingShow(d *driver) error {
	_, err := d.Show(d, &api.ShowRequest{Model: missingModel})
	return checkMissing(err)
}

func runMissingEmbed(d *driver) error {
	_, err := d.Embed(d, &api.EmbedRequest{Model: missingModel, Input: question})
	_, err2 := d.Embeddings(d, &api.EmbeddingRequest{Model: missingModel, Prompt: question})
	return first(checkMissing(err), checkMissing(err2))
}

func runStreamAbort(d *driver) error {
	ctx, leave := context.WithCancel(d)
	defer leave()
	frames := 0
	err := d.Chat(ctx, d.ask(heldQuestion), func(frame api.ChatResponse) error {
		frames++
		leave()
		return nil
	})
	_, _, err2 := d.speak(d.ask(question), "stop")
	return first(check(frames > 0, "frames before leaving"),
		check(err != nil && ctx.Err() == context.Canceled, "left: %v", err), err2)
}

func runStreamBreaksOff(d *driver) error {
	frames := 0
	err := d.Chat(d, d.ask(brokenQuestion), func(frame api.ChatResponse) error {
		frames++
		return check(!frame.Done, "an answer that breaks off is not done")
	})
	return first(
		check(frames > 0, "frames before the break"),
		check(err != nil && err.Error() != "", "%v is an error", err),
		check(err == nil || !strings.HasPrefix(err.Error(), "not so"), "%v", err),
	)
}
