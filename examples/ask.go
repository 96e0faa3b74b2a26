package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
)

func main() {
	image, err := os.ReadFile("examples/images/dog.jpg")
	if err != nil {
		log.Fatal(err)
	}
	query := url.Values{"labels": {"a dog", "a cat", "food", "something else"}}
	request, err := http.NewRequest("POST", os.Getenv("URL")+"?"+query.Encode(), bytes.NewReader(image))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Content-Type", "image/jpeg")
	request.Header.Set("x-api-key", os.Getenv("KEY"))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(response.Status, string(answer))
}
